package session

// Remains is what is left of a Callee once nothing can run any more: enough to
// answer every copy of every call.
type Remains struct {
	turn  uint64
	last  keptReply    // the reply with the highest number, 0 where none is kept
	older *[]keptReply // those before it, nil: there are none, as mostly
	bytes int
}

type keptReply struct {
	number uint64
	reply  Reply
}

// Remain leaves in r the replies that were not acknowledged.
func (c *Callee[C]) Remain(r *Remains) {
	*r = Remains{turn: c.turn, bytes: c.bytes}
	for n := c.acked + 1; n <= c.top; n++ {
		reply, ok := c.Stored(n)
		if !ok {
			continue
		}
		if r.last.number != 0 {
			if r.older == nil {
				r.older = new([]keptReply)
			}
			*r.older = append(*r.older, r.last)
		}
		r.last = keptReply{n, reply}
	}
}

// Stored returns the reply kept for n.
func (r *Remains) Stored(n uint64) (Reply, bool) {
	if n != 0 && r.last.number == n {
		return r.last.reply, true
	}
	for _, k := range r.before() {
		if k.number == n {
			return k.reply, true
		}
	}
	return Reply{}, false
}

// Strip gives up the bodies of the replies, and returns how many bytes they
// were: of each it stays known that it was done.
func (r *Remains) Strip() (bytes int) {
	bytes, r.bytes = r.bytes, 0
	r.last.reply.strip()
	older := r.before()
	for i := range older {
		older[i].reply.strip()
	}
	return bytes
}

// before are the replies before the last.
func (r *Remains) before() []keptReply {
	if r.older == nil {
		return nil
	}
	return *r.older
}

func (r *Reply) strip() {
	if len(r.Body) == 0 {
		return
	}
	if r.Body = nil; r.Code == 0 {
		*r = Reply{Code: ErrReplyGone}
	}
}

// Turn returns the lowest number that had neither started nor been settled.
func (r *Remains) Turn() uint64 { return r.turn }

// Bytes returns how many bytes of replies are kept.
func (r *Remains) Bytes() int { return r.bytes }
