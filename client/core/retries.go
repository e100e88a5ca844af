package core

import (
	"container/heap"
	"time"
)

// retries is when sessions are looked at of which something may have to be sent again.
// Most of them have just begun a call, and nothing comes of the look: they stand in
// line, as the moments come that are all as far away. The others are in a heap, which
// would cost each call the memory of a dozen other sessions were all of them in it.
type retries struct {
	heap        wakeHeap
	first, last *Session // of the line, linked by behind and ahead
	lined       int
}

// Where a session is that has no place in the heap.
const (
	placeNone = -1
	placeLine = -2
)

func (r *retries) len() int { return len(r.heap) + r.lined }

// next is the session whose look comes first, nil if there is none.
func (r *retries) next() *Session {
	switch {
	case len(r.heap) == 0:
		return r.first
	case r.first == nil || r.heap[0].wake.Before(r.first.wake):
		return r.heap[0]
	}
	return r.first
}

// each calls f for every session that is to be looked at. F takes none out.
func (r *retries) each(f func(*Session)) {
	for _, s := range r.heap {
		f(s)
	}
	for s := r.first; s != nil; s = s.behind {
		f(s)
	}
}

// join has a session that is nowhere stand at the end of the line, if its moment is
// none of those before it.
func (r *retries) join(s *Session) {
	if r.last != nil && s.wake.Before(r.last.wake) {
		heap.Push(&r.heap, s)
		return
	}
	if s.place, s.ahead = placeLine, r.last; r.last != nil {
		r.last.behind = s
	} else {
		r.first = s
	}
	r.last = s
	r.lined++
}

// quit takes a session out, wherever it is.
func (r *retries) quit(s *Session) {
	switch s.place {
	case placeNone:
		return
	case placeLine:
		r.leave(s)
	default:
		heap.Remove(&r.heap, s.place)
	}
}

func (r *retries) leave(s *Session) {
	if s.ahead != nil {
		s.ahead.behind = s.behind
	} else {
		r.first = s.behind
	}
	if s.behind != nil {
		s.behind.ahead = s.ahead
	} else {
		r.last = s.ahead
	}
	s.place, s.ahead, s.behind = placeNone, nil, nil
	r.lined--
}

// arm makes sure that a session is looked at by wake.
func (c *Core) arm(s *Session, wake time.Time) {
	if s.place != placeNone {
		if !wake.Before(s.wake) {
			return
		}
		c.retries.quit(s)
	}
	s.wake = wake
	heap.Push(&c.retries.heap, s)
}

// armInLine is arm for a moment that is as far away as in every other call of it.
func (c *Core) armInLine(s *Session, wake time.Time) {
	if s.place != placeNone {
		c.arm(s, wake)
		return
	}
	s.wake = wake
	c.retries.join(s)
}

// look looks at the sessions whose moment has come.
func (c *Core) look(now time.Time, fx *Effects) {
	for s := c.retries.next(); s != nil && !now.Before(s.wake); s = c.retries.next() {
		s.behind.Soon()
		c.again(now, s, fx)
	}
}

// wakeHeap orders sessions by when something of theirs is sent again.
type wakeHeap []*Session

func (h wakeHeap) Len() int           { return len(h) }
func (h wakeHeap) Less(i, j int) bool { return h[i].wake.Before(h[j].wake) }
func (h wakeHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push adds a session.
func (h *wakeHeap) Push(x any) {
	s := x.(*Session)
	s.place = len(*h)
	*h = append(*h, s)
}

// Pop removes the last session.
func (h *wakeHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	s.place = placeNone
	return s
}
