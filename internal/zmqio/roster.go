package zmqio

// roster is what one ROUTER knows of its peers, in the order in which they were
// last heard of or sent to. Guarded by the socket's mu.
type roster struct {
	size           int
	oldest, newest *peer
}

func (r *roster) add(p *peer, now int64) {
	p.seen, p.listed = now, true
	r.size++
	r.link(p)
}

func (r *roster) remove(p *peer) {
	if !p.listed {
		return
	}
	p.listed = false
	r.size--
	r.unlink(p)
}

// touch notes traffic. The clock is the loop's, so all traffic between two
// looks at the clock counts as simultaneous and costs one comparison.
func (r *roster) touch(p *peer, now int64) {
	if p.seen == now {
		return
	}
	p.seen = now
	if p.listed && r.newest != p {
		r.unlink(p)
		r.link(p)
	}
}

func (r *roster) link(p *peer) {
	p.older, p.newer = r.newest, nil
	if r.newest != nil {
		r.newest.newer = p
	} else {
		r.oldest = p
	}
	r.newest = p
}

func (r *roster) unlink(p *peer) {
	if p.older != nil {
		p.older.newer = p.newer
	} else {
		r.oldest = p.newer
	}
	if p.newer != nil {
		p.newer.older = p.older
	} else {
		r.newest = p.older
	}
	p.older, p.newer = nil, nil
}
