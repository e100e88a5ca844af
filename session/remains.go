package session

// Remains is what is left of a Callee once nothing can run any more: enough to
// answer every copy of every call.
type Remains struct {
	turn  uint64
	kept  []keptReply
	bytes int
}

type keptReply struct {
	number uint64
	reply  Reply
}

// Remains returns the replies that were not acknowledged.
func (c *Callee[C]) Remains() Remains {
	r := Remains{turn: c.turn, bytes: c.bytes}
	for n := c.acked + 1; n <= c.top; n++ {
		if reply, ok := c.Stored(n); ok {
			r.kept = append(r.kept, keptReply{n, reply})
		}
	}
	return r
}

// Stored returns the reply kept for n.
func (r *Remains) Stored(n uint64) (Reply, bool) {
	for i := range r.kept {
		if r.kept[i].number == n {
			return r.kept[i].reply, true
		}
	}
	return Reply{}, false
}

// Turn returns the lowest number that had neither started nor been settled.
func (r *Remains) Turn() uint64 { return r.turn }

// Bytes returns how many bytes of replies are kept.
func (r *Remains) Bytes() int { return r.bytes }
