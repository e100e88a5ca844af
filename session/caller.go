package session

import "time"

// Caller is the client's half of the contract: it numbers calls, bounds how
// many are in flight, knows what to acknowledge, and says what to send again.
// F is what the client wants to find again when a number is settled.
//
// It is not safe for concurrent use; its owner locks. Once it is used it must not
// be copied.
type Caller[F any] struct {
	window   uint64
	maxBytes int

	next  uint64 // the number the next call gets
	acked uint64 // everything up to here is settled
	bytes int    // of arguments in flight
	ring  []flight[F]
	one   [1]flight[F] // what it begins as: most have one call at a time
}

type flight[F any] struct {
	open  bool
	tries uint8 // up to triesMost
	size  int
	due   time.Time // when it is sent again
	what  F
}

// Backoff of a call that is sent again: the first time after RetryFirst, then
// twice as long each time, up to RetryMost.
const (
	RetryFirst = time.Second
	RetryMost  = 5 * time.Second
)

// triesMost is how many tries are counted: with so many the back-off is RetryMost.
const triesMost = 8

// NewCaller returns the client's half of a session whose first number is
// first (1 for a fresh one).
func NewCaller[F any](window, maxBytes int, first uint64) *Caller[F] {
	c := new(Caller[F])
	c.Open(window, maxBytes, first)
	return c
}

// Open is NewCaller in memory of the caller's, which is zero.
func (c *Caller[F]) Open(window, maxBytes int, first uint64) {
	c.window, c.maxBytes, c.next, c.acked = uint64(window), maxBytes, first, first-1
}

// Begin gives the next number to a call of size bytes, and where to keep what is
// to be found again: zero, and valid until the next Begin. It is false while the
// window is full.
func (c *Caller[F]) Begin(now time.Time, size int) (n uint64, what *F, ok bool) {
	if c.next > c.acked+c.window || (c.bytes > 0 && c.bytes+size > c.maxBytes) {
		return 0, nil, false
	}
	n = c.next
	c.next++
	f := c.grow(n)
	f.open, f.tries, f.size, f.due = true, 0, size, now.Add(RetryFirst)
	c.bytes += size
	return n, &f.what, true
}

// Settle ends number n and returns what was kept for it. It is false for a
// number that is not in flight: a reply that comes twice settles once.
func (c *Caller[F]) Settle(n uint64) (F, bool) {
	f := c.at(n)
	if f == nil || !f.open {
		var none F
		return none, false
	}
	what := f.what
	c.bytes -= f.size
	*f = flight[F]{}
	for c.acked+1 < c.next && !c.ring[(c.acked+1)%uint64(len(c.ring))].open {
		c.acked++
	}
	return what, true
}

// Get returns what is in flight under n.
func (c *Caller[F]) Get(n uint64) (F, bool) {
	if f := c.at(n); f != nil && f.open {
		return f.what, true
	}
	var none F
	return none, false
}

// At returns where that is kept, to be changed there: nil for a number that is not
// in flight, and valid until the next Begin.
func (c *Caller[F]) At(n uint64) *F {
	if f := c.at(n); f != nil && f.open {
		return &f.what
	}
	return nil
}

// Overdue calls again for every number that should be sent again by now, in
// order, and puts each off by its back-off.
func (c *Caller[F]) Overdue(now time.Time, again func(n uint64, what *F)) {
	for n := c.acked + 1; n < c.next; n++ {
		f := c.at(n)
		if !f.open || now.Before(f.due) {
			continue
		}
		f.tries = min(f.tries+1, triesMost)
		f.due = now.Add(min(RetryFirst<<f.tries, RetryMost))
		again(n, &f.what)
	}
}

// Hurry makes every number in flight due now: the connection is a new one.
func (c *Caller[F]) Hurry(now time.Time) {
	for n := c.acked + 1; n < c.next; n++ {
		if f := c.at(n); f.open {
			f.due = now
		}
	}
}

// Postpone puts the next sending of n off to due: the far side said that it
// holds the call, or that it needs a moment.
func (c *Caller[F]) Postpone(n uint64, due time.Time) {
	if f := c.at(n); f != nil && f.open {
		f.due = due
	}
}

// NextDue returns when Overdue next has something to do.
func (c *Caller[F]) NextDue() (time.Time, bool) {
	var due time.Time
	found := false
	for n := c.acked + 1; n < c.next; n++ {
		if f := c.at(n); f.open && (!found || f.due.Before(due)) {
			due, found = f.due, true
		}
	}
	return due, found
}

// Ack is the number up to which every call is settled: what goes into the
// acknowledgement field of the next frame.
func (c *Caller[F]) Ack() uint64 { return c.acked }

// InFlight returns how many numbers are not settled.
func (c *Caller[F]) InFlight() int {
	open := 0
	for n := c.acked + 1; n < c.next; n++ {
		if c.at(n).open {
			open++
		}
	}
	return open
}

// All returns what is in flight, by number in order.
func (c *Caller[F]) All() (numbers []uint64) {
	for n := c.acked + 1; n < c.next; n++ {
		if c.at(n).open {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// Each calls f with what is kept of every number in flight, in order.
func (c *Caller[F]) Each(f func(what *F)) {
	for n := c.acked + 1; n < c.next; n++ {
		if is := c.at(n); is.open {
			f(&is.what)
		}
	}
}

// Next returns the number that the next call will get.
func (c *Caller[F]) Next() uint64 { return c.next }

func (c *Caller[F]) at(n uint64) *flight[F] {
	if n <= c.acked || n >= c.next {
		return nil
	}
	return &c.ring[n%uint64(len(c.ring))]
}

// grow makes room for n. The ring starts at one entry and doubles with use.
func (c *Caller[F]) grow(n uint64) *flight[F] {
	size := uint64(max(1, len(c.ring)))
	for c.acked+size < n {
		size *= 2
	}
	switch {
	case size == uint64(len(c.ring)):
	case size == 1:
		c.ring = c.one[:]
	default:
		bigger := make([]flight[F], size)
		if old := uint64(len(c.ring)); old > 0 {
			for i := c.acked + 1; i < n; i++ {
				bigger[i%size] = c.ring[i%old]
			}
		}
		c.ring, c.one = bigger, [1]flight[F]{}
	}
	return &c.ring[n%size]
}
