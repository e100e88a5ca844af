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

// Strip gives up the bodies of the replies, and returns how many bytes they
// were: of each it stays known that it was done.
func (r *Remains) Strip() (bytes int) {
	bytes, r.bytes = r.bytes, 0
	for i := range r.kept {
		if k := &r.kept[i].reply; len(k.Body) > 0 {
			if k.Body = nil; k.Code == 0 {
				*k = Reply{Code: ErrReplyGone}
			}
		}
	}
	return bytes
}

// Turn returns the lowest number that had neither started nor been settled.
func (r *Remains) Turn() uint64 { return r.turn }

// Bytes returns how many bytes of replies are kept.
func (r *Remains) Bytes() int { return r.bytes }
