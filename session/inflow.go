package session

import "slices"

// Inflow is the receiving half of one stream: it takes chunks, keeps them until
// they are read in their order, and grants as much as it has room for.
//
//	read <= taken <= limit          limit: the credit that it has granted
//	everything kept lies between read and limit; read + window bounds limit
//
// What comes twice is passed over; what comes early, because something before
// it was lost or overtaken, is kept for its turn. What is beyond the credit, the
// end or the announced size is wrong. It is not safe for concurrent use; its
// owner locks.
type Inflow struct {
	window uint64
	size   uint64 // announced or found, where sized
	sized  bool
	ended  bool // the end is known for certain

	taken uint64 // everything before it has come
	read  uint64
	limit uint64
	told  uint64 // taken, as it was last granted with
	top   uint64 // of what ever came
	sum   uint32
	queue []Chunk // from read to taken
	early []Chunk // beyond taken, by their offsets
}

// Arrived is what became of a chunk.
type Arrived uint8

// What became of a chunk.
const (
	ChunkTaken Arrived = iota // it is in its place
	ChunkKnown                // it had come before
	ChunkEarly                // bytes before it are missing
	ChunkWrong                // it cannot be: ErrStream
)

// Bounds of what a stream makes of small chunks.
const (
	earlyMost = 64       // chunks that wait for those before them
	smallMost = 16 << 10 // a chunk up to this size is copied together with others
	smallFull = 64 << 10 // which are so large together
)

// NewInflow returns a stream of which nothing has come. It keeps at most window
// bytes. Size is what was announced, below 0: unknown.
func NewInflow(window int, size int64) *Inflow {
	f := &Inflow{window: uint64(window)}
	if size >= 0 {
		f.size, f.sized = uint64(size), true
	}
	return f
}

// Widen changes how many bytes are kept at most. What was granted stays so.
func (f *Inflow) Widen(window int) { f.window = uint64(window) }

// Arrive takes a chunk: last is the end of the stream, with the sum over all of
// it. Where it is kept, its memory is held.
func (f *Inflow) Arrive(c Chunk, last bool, sum uint32) Arrived {
	end := c.End()
	switch {
	case end < c.At || end > f.limit || f.sized && end > f.size:
		return ChunkWrong
	case last && (f.sized && end != f.size || end < f.top):
		return ChunkWrong
	}
	f.top = max(f.top, end)
	if last {
		f.size, f.sized = end, true
	}
	news := last && !f.ended
	if news { // whatever is still missing before it
		f.ended, f.sum = true, sum
	}
	switch {
	case c.At > f.taken:
		f.wait(c)
		return ChunkEarly
	case end > f.taken:
		f.take(c)
		f.catchUp()
		return ChunkTaken
	case news:
		return ChunkTaken
	}
	return ChunkKnown
}

// wait keeps a chunk that came early, if there is a place.
func (f *Inflow) wait(c Chunk) {
	i, known := slices.BinarySearchFunc(f.early, c.At, func(e Chunk, at uint64) int {
		switch {
		case e.At < at:
			return -1
		case e.At > at:
			return 1
		}
		return 0
	})
	if known || len(c.Body) == 0 || len(f.early) >= earlyMost || uint64(f.Kept()+len(c.Body)) > f.limit-f.read {
		return // it is asked for again
	}
	f.early = slices.Insert(f.early, i, c.kept())
}

// catchUp takes the chunks that had come early and whose turn it is.
func (f *Inflow) catchUp() {
	n := 0
	for ; n < len(f.early) && f.early[n].At <= f.taken; n++ {
		if c := f.early[n]; c.End() > f.taken {
			f.take(c)
		}
		f.early[n].Drop()
	}
	f.early = slices.Delete(f.early, 0, n)
}

// kept is a chunk that does not go with what it came in: small ones are copied,
// so that they do not hold more memory than they count for.
func (c *Chunk) kept() Chunk {
	if len(c.Body) <= smallMost {
		return Chunk{At: c.At, Body: slices.Clone(c.Body)}
	}
	if c.Mem != nil {
		c.Mem.Hold()
	}
	return *c
}

// take puts a chunk behind what was taken.
func (f *Inflow) take(c Chunk) {
	c.Body = c.Body[f.taken-c.At:]
	c.At = f.taken
	f.taken = c.End()
	if n := len(f.queue); n > 0 && len(c.Body) <= smallMost {
		if q := &f.queue[n-1]; q.Mem == nil && len(q.Body)+len(c.Body) <= smallFull {
			q.Body = slices.Concat(q.Body, c.Body)
			return
		}
	}
	f.queue = append(f.queue, c.kept())
}

// Finish takes the end where that is told by other means. It is false where it
// cannot be true.
func (f *Inflow) Finish(size uint64, sum uint32) bool {
	if size < f.top || f.sized && f.size != size {
		return false
	}
	f.size, f.sized, f.ended, f.sum = size, true, true, sum
	return true
}

// Next hands the next chunk to the reader, whose it is from then on.
func (f *Inflow) Next() (Chunk, bool) {
	if len(f.queue) == 0 {
		return Chunk{}, false
	}
	c := f.queue[0]
	f.queue[0] = Chunk{}
	f.queue = f.queue[1:]
	f.read = c.End()
	return c, true
}

// Grant is the credit to tell the sender: what was taken, how many bytes beyond
// it may come, and whether the end was taken too.
func (f *Inflow) Grant() (taken, window uint64, end bool) {
	f.limit = max(f.limit, f.read+f.window)
	f.told = f.taken
	return f.taken, f.limit - f.taken, f.Complete()
}

// Due reports that there is enough to tell since the last Grant: room, or bytes
// that the sender need not keep any longer.
func (f *Inflow) Due() bool {
	if f.Complete() {
		return f.told < f.taken
	}
	room := max(f.limit, f.read+f.window) - f.limit
	return room > 0 && (room >= f.window/4 || f.read == f.taken && f.limit-f.taken < MaxChunk) ||
		f.taken-f.told >= max(1, min(f.window/2, MaxChunk)) || f.taken == f.limit && f.told < f.taken
}

// Complete reports that everything has come, and that this is certain.
func (f *Inflow) Complete() bool { return f.ended && f.taken == f.size }

// Close gives up what is kept.
func (f *Inflow) Close() {
	for i := range f.queue {
		f.queue[i].Drop()
	}
	for i := range f.early {
		f.early[i].Drop()
	}
	f.queue, f.early = nil, nil
}

// Taken is the offset before which everything has come.
func (f *Inflow) Taken() uint64 { return f.taken }

// Began reports that something was granted.
func (f *Inflow) Began() bool { return f.limit > 0 }

// Kept is how many bytes have come and were not read.
func (f *Inflow) Kept() int {
	n := 0
	for i := range f.queue {
		n += len(f.queue[i].Body)
	}
	for i := range f.early {
		n += len(f.early[i].Body)
	}
	return n
}

// Window is how many bytes are kept at most.
func (f *Inflow) Window() int { return int(f.window) }

// Sum is over everything, once it is complete; zero where none was told.
func (f *Inflow) Sum() uint32 { return f.sum }
