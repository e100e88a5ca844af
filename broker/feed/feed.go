// Package feed answers one question: what has just happened at a broker? It
// keeps the last events in order, under growing numbers, for whoever listens.
//
// Nobody who listens can hold anybody up: Tell never waits, and a listener
// that is too slow is told how many events it has missed.
//
// What it does not do: it writes no log and no page, and it outlives no process.
package feed

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/limpet-rpc/limpet/internal/recent"
)

// Event is one thing that happened. Fields that do not apply are empty.
type Event struct {
	Number  uint64    `json:"number"` // from 1, by this process
	Time    time.Time `json:"time"`
	What    string    `json:"what"`
	Node    string    `json:"node,omitempty"`
	Name    string    `json:"name,omitempty"` // of the node, or of whom it is about
	Pool    string    `json:"pool,omitempty"`
	Session string    `json:"session,omitempty"`
	Code    string    `json:"code,omitempty"`
	Text    string    `json:"text,omitempty"`
}

// Kept is how many events a Feed keeps.
const Kept = 4096

// Feed keeps the last events. It is safe for concurrent use.
type Feed struct {
	mu      sync.Mutex
	all     recent.Ring[Event]
	waiting chan struct{} // closed by the next Tell, nil while nobody waits

	readers atomic.Int32
}

// Tell numbers and keeps an event, and wakes those who wait for it.
func (f *Feed) Tell(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all.Len() == Kept {
		f.all.Drop()
	}
	n := f.all.Push(e)
	f.all.At(n).Number = n + 1
	if f.waiting != nil {
		close(f.waiting)
		f.waiting = nil
	}
}

// Heard reports whether somebody listens. Events that come by the thousand,
// those of sessions, are told only then, so that they do not push out the rest.
func (f *Feed) Heard() bool { return f.readers.Load() > 0 }

// Listen makes Heard true until stop is called.
func (f *Feed) Listen() (stop func()) {
	f.readers.Add(1)
	return sync.OnceFunc(func() { f.readers.Add(-1) })
}

// After returns the events after number n, oldest first, at most a hundred, and
// how many before them are gone already. It waits for the first of them, or for
// the end of ctx, which is its only error.
func (f *Feed) After(ctx context.Context, n uint64) (events []Event, missed uint64, err error) {
	for {
		events, missed, more := f.since(n)
		if len(events) > 0 {
			return events, missed, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// readMost is how many events one After returns.
const readMost = 100

func (f *Feed) since(n uint64) (events []Event, missed uint64, more <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	oldest, first := f.all.Oldest()
	last := first + uint64(f.all.Len())
	if n > last { // a number of another process
		n = 0
	}
	if oldest != nil && n < first {
		missed, n = first-n, first
	}
	for ; n < last && len(events) < readMost; n++ {
		events = append(events, *f.all.At(n))
	}
	if len(events) == 0 && f.waiting == nil {
		f.waiting = make(chan struct{})
	}
	return events, missed, f.waiting
}
