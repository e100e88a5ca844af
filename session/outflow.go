package session

// Outflow is the sending half of one stream. It keeps the chunks that were not
// acknowledged, sends no further than it has credit for, and begins again from
// the acknowledged offset when told to.
//
//	acked <= sent <= given          acked + most bounds given
//	         sent <= limit          limit: the credit, an absolute offset
//
// Offsets only grow, so a credit that comes twice, late or out of order does no
// harm; one that cannot be true is ErrStream. It is not safe for concurrent
// use; its owner locks.
type Outflow struct {
	// Owner finds whose stream it is; it is the owner's own.
	Owner any

	most  uint64 // bytes that are kept
	marks bool   // the end is marked on the last chunk; otherwise it is told by other means

	acked uint64
	sent  uint64 // since the last Rewind
	top   uint64 // sent at all
	given uint64
	limit uint64

	ended  bool    // nothing more will be given
	sum    uint32  // of the whole, once it has ended
	marked bool    // the end was sent, since the last Rewind
	told   bool    // the end was sent at all
	over   bool    // the end was acknowledged
	kept   []Chunk // from acked on
	ahead  int     // how many of them were sent, since the last Rewind

	road    *Road
	lane    uint64
	counted int    // there
	off     uint64 // what was sent before it does not count: it is lost, or on another road
}

// NewOutflow returns a stream of which nothing was given, and without credit.
// It keeps at most so many bytes. One that marks sends its end as a chunk.
func NewOutflow(most int, marks bool) *Outflow {
	return &Outflow{most: uint64(most), marks: marks}
}

// Room is how many bytes may be given now.
func (f *Outflow) Room() int { return int(f.most - min(f.most, f.given-f.acked)) }

// Give adds bytes behind those given before; there must be room for them. The
// stream keeps them, and mem, which was held for it.
func (f *Outflow) Give(body []byte, mem Memory) {
	f.kept = append(f.kept, Chunk{At: f.given, Body: body, Mem: mem})
	f.given += uint64(len(body))
}

// End says that nothing more will be given. Sum is over all that was.
func (f *Outflow) End(sum uint32) { f.ended, f.sum = true, sum }

// Credit takes an acknowledgement of all bytes before taken, with leave to send
// window bytes beyond. End says that the end was taken too.
func (f *Outflow) Credit(taken, window uint64, end bool) Code {
	if taken > f.top || window > MaxCredit || end && (!f.ended || taken != f.given) {
		return ErrStream
	}
	f.limit = max(f.limit, taken+window)
	f.over = f.over || end
	if taken <= f.acked {
		return 0
	}
	n := 0
	for n < len(f.kept) && f.kept[n].End() <= taken {
		f.kept[n].Drop()
		n++
	}
	f.kept = f.kept[n:]
	f.ahead = max(0, f.ahead-n)
	f.acked = taken
	f.sent = max(f.sent, taken)
	f.count()
	return 0
}

// next is the size of the chunk that Next would return.
func (f *Outflow) next() (size int, ok bool) {
	if f.ahead < len(f.kept) {
		k := &f.kept[f.ahead]
		return len(k.Body), k.End() <= f.limit
	}
	return 0, f.marks && f.ended && !f.marked && !f.over
}

// Next is the next chunk that may be sent: last is the end of the stream, again
// is one that was sent before.
func (f *Outflow) Next() (c Chunk, last, again, ok bool) {
	if _, ok := f.next(); !ok {
		return Chunk{}, false, false, false
	}
	c.At, again = f.given, f.told
	if f.ahead < len(f.kept) {
		c = f.kept[f.ahead]
		f.ahead++
		again = c.At < f.top
	}
	f.sent = c.End()
	f.top = max(f.top, f.sent)
	last = f.marks && f.ended && f.sent == f.given
	f.marked, f.told = f.marked || last, f.told || last
	return c, last, again, true
}

// Rewind has everything that is kept sent again.
func (f *Outflow) Rewind() {
	f.sent, f.off, f.ahead, f.marked = f.acked, f.acked, 0, false
	f.count()
}

// Starved reports that bytes wait for credit.
func (f *Outflow) Starved() bool {
	return f.ahead < len(f.kept) && f.kept[f.ahead].End() > f.limit
}

// Done reports that everything was taken, and its end, where that is marked.
func (f *Outflow) Done() bool {
	return f.ended && f.acked == f.given && (f.over || !f.marks)
}

// Close gives up what is kept. Nothing is sent any more.
func (f *Outflow) Close() {
	f.Leave()
	for i := range f.kept {
		f.kept[i].Drop()
	}
	f.kept, f.ahead, f.ended, f.marked, f.over = nil, 0, true, true, true
	f.acked, f.sent = f.given, f.given
}

// Sent is the offset up to which bytes are on their way.
func (f *Outflow) Sent() uint64 { return f.sent }

// Acked is the offset up to which bytes were taken.
func (f *Outflow) Acked() uint64 { return f.acked }

// Given is how many bytes were given.
func (f *Outflow) Given() uint64 { return f.given }

// Limit is the offset up to which there is credit.
func (f *Outflow) Limit() uint64 { return f.limit }

// Flying is how many bytes are on their way.
func (f *Outflow) Flying() int { return int(f.sent - f.acked) }

// Kept is how many bytes are kept.
func (f *Outflow) Kept() int { return int(f.given - f.acked) }

// Ended reports that nothing more will be given.
func (f *Outflow) Ended() bool { return f.ended }

// Sum is over everything, once the stream has ended.
func (f *Outflow) Sum() uint32 { return f.sum }
