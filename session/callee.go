package session

import (
	"math"
	"time"
)

// Verdict is what a Callee decides of a call that arrives.
type Verdict uint8

// The verdicts.
const (
	Queued   Verdict = iota // taken; Next will hand it out in its turn
	Repeated                // known and not answered yet: say that it is held
	Replayed                // known and answered: send the stored reply again
	Refused                 // the code says why; nothing was kept
)

// Reply is the end of a call as the worker side keeps it for replay.
type Reply struct {
	Code    Code // 0 where the method returned a value
	Outcome Outcome
	Raw     bool   // Body is bytes, not MessagePack
	Stream  bool   // the value has gone, or goes, as chunks; Body describes it
	Sum     uint32 // CRC-32C of those; what the owner of the stream makes Body of
	Next    bool   // Body says where the work goes on
	Own     bool   // Body's memory is nobody else's: once the reply is forgotten, the next may be written there
	Body    []byte // the value, or the error's details
}

type callState uint8

const (
	callAbsent  callState = iota // a gap: not arrived yet
	callWaiting                  // arrived, its turn has not come
	callRunning
	callDone // answered, tombstones included
)

type callEntry[C any] struct {
	state     callState
	cancelled bool
	size      uint32 // bytes held for the call while it waits or runs
	hash      uint64
	deadline  time.Time
	call      C
	reply     Reply
}

// Callee is the worker's half of the contract: it runs every number at most
// once, in order, one at a time, and keeps replies until they are
// acknowledged. C is what the node wants back when a call's turn comes.
//
//	absent -> waiting -> running -> done -> (acknowledged) forgotten
//	   \________\__ cancelled, expired: done, not run (the tombstone)
//
// It is not safe for concurrent use; its owner locks. Once it is used it must not
// be copied.
type Callee[C any] struct {
	window   uint32
	maxBytes int32

	acked   uint64          // everything up to here is settled and forgotten
	turn    uint64          // the lowest number that has not started or been settled
	top     uint64          // the highest number ever arrived
	running uint64          // the number that runs, 0 if none does
	bytes   int             // of stored replies and of calls that wait or run
	log     []callEntry[C]  // a ring: number n lives at n % len
	one     [1]callEntry[C] // what it begins as: most have one call at a time
}

// NewCallee returns the worker's half of a fresh session. Window bounds the
// numbers kept, maxBytes the bytes kept for them.
func NewCallee[C any](window, maxBytes int) *Callee[C] {
	c := new(Callee[C])
	c.Open(window, maxBytes)
	return c
}

// Open is NewCallee in memory of the caller's, which is zero.
func (c *Callee[C]) Open(window, maxBytes int) {
	c.window, c.maxBytes, c.turn = uint32(window), int32(min(maxBytes, math.MaxInt32)), 1
}

// Arrive takes call n, which acknowledges everything up to ack, carries size
// bytes that hash to hash, and must not start after deadline (zero: none). The
// reply is set only for Replayed, the code only for Refused.
func (c *Callee[C]) Arrive(n, ack, hash uint64, size int, deadline time.Time, call C) (Verdict, Reply, Code) {
	if code := c.check(n, ack); code != 0 {
		return Refused, Reply{}, code
	}
	c.forget(ack)
	if n <= c.acked {
		return Refused, Reply{}, ErrPast
	}
	if e := c.at(n); e != nil && e.state != callAbsent {
		switch {
		case e.state == callDone && e.cancelled:
			return Replayed, e.reply, 0 // the tombstone came first: nothing to compare with
		case e.hash != hash:
			return Refused, Reply{}, ErrRepeated
		case e.state == callDone:
			return Replayed, e.reply, 0
		}
		return Repeated, Reply{}, 0
	}
	if n != c.turn && c.bytes > 0 && c.bytes+size > int(c.maxBytes) { // the next in turn makes room by running
		return Refused, Reply{}, ErrOverloaded
	}
	e := c.grow(n)
	e.state, e.hash, e.size, e.deadline, e.call = callWaiting, hash, uint32(size), deadline, call
	c.bytes += size
	c.top = max(c.top, n)
	return Queued, Reply{}, 0
}

// check judges the numbers of a frame before anything is changed by it.
func (c *Callee[C]) check(n, ack uint64) Code {
	if n == 0 || n > c.acked+uint64(c.window) {
		if n != 0 && ack < n && c.answered(ack) && n <= ack+uint64(c.window) {
			return 0 // beyond the window as it was, within it as this very frame acknowledges
		}
		return ErrFuture
	}
	if ack >= n && n > c.acked {
		return ErrAcknowledged // of itself or of what comes after it
	}
	if !c.answered(ack) {
		return ErrAcknowledged
	}
	return 0
}

// answered reports whether every number up to ack has been answered. Numbers
// whose turn has not come are, where they were cancelled: that happens behind a
// call that runs for an earlier holder.
func (c *Callee[C]) answered(ack uint64) bool {
	if c.running > c.acked && ack >= c.running {
		return false
	}
	for n := c.turn; n <= ack; n++ {
		if e := c.at(n); e == nil || e.state != callDone {
			return false
		}
	}
	return true
}

// Ack forgets the replies up to ack. It refuses to forget what was never
// answered.
func (c *Callee[C]) Ack(ack uint64) Code {
	if !c.answered(ack) {
		return ErrAcknowledged
	}
	c.forget(ack)
	return 0
}

// roomMost bounds what is kept for replies to come, in bytes, of all numbers
// together.
const roomMost = 4096

func (c *Callee[C]) forget(ack uint64) {
	for c.acked < ack {
		e := c.at(c.acked + 1)
		room, keep := e.reply.Body[:0], e.reply.Own && cap(e.reply.Body)*len(c.log) <= roomMost
		c.bytes -= len(e.reply.Body)
		if *e = (callEntry[C]{}); keep {
			e.reply.Body = room // for the next, see Room
		}
		c.acked++
	}
	c.turn = max(c.turn, c.acked+1) // past tombstones whose turn had not come
}

// Next hands out the call whose turn has come, if no other runs. A call past
// its deadline is not handed out: it ends as not run, and expired says which
// numbers ended so (their replies are ready to send through Stored).
func (c *Callee[C]) Next(now time.Time) (n uint64, call C, ok bool, expired []uint64) {
	if ok, expired = c.Ready(now); ok {
		n, call = c.Start()
	}
	return n, call, ok, expired
}

// Start hands out the call that Ready has just found.
func (c *Callee[C]) Start() (n uint64, call C) {
	e := c.at(c.turn)
	e.state = callRunning
	c.running = c.turn
	c.turn++
	return c.running, e.call
}

// Ready reports whether Next has a call to hand out now. What Next would pass
// over on its way there, it passes over.
func (c *Callee[C]) Ready(now time.Time) (ok bool, expired []uint64) {
	for c.running == 0 {
		e := c.at(c.turn)
		switch {
		case e == nil || e.state == callAbsent:
			return false, expired
		case e.state == callDone: // a tombstone
		case !e.deadline.IsZero() && now.After(e.deadline):
			expired = append(expired, c.turn)
			c.settle(e, &Reply{Code: ErrDeadline, Outcome: NotRun})
		default:
			return true, expired
		}
		c.turn++
	}
	return false, expired
}

// Room is memory that the reply of the call that runs may be written to, of no
// length: that of one which was forgotten. Nil: there is none.
func (c *Callee[C]) Room() (room []byte) {
	if e := c.at(c.running); e != nil && e.state == callRunning {
		room, e.reply.Body = e.reply.Body, nil
	}
	return room
}

// Finish stores the reply of the running call n, and returns what Arrive was given
// for it, which is not kept any longer; zero where that was given up before.
func (c *Callee[C]) Finish(n uint64, r *Reply) (call C) {
	if n == 0 || n != c.running {
		return call
	}
	c.running = 0
	if e := c.at(n); e != nil && e.state == callRunning {
		call = e.call
		c.settle(e, r)
	}
	return call
}

// Lose puts r in the place of the reply that is stored for n: what it stood for
// is gone.
func (c *Callee[C]) Lose(n uint64, r Reply) {
	if e := c.at(n); e != nil && e.state == callDone {
		c.bytes += len(r.Body) - len(e.reply.Body)
		e.reply = r
	}
}

func (c *Callee[C]) settle(e *callEntry[C], r *Reply) {
	var none C
	c.bytes += len(r.Body) - int(e.size)
	e.state, e.size, e.call, e.reply = callDone, 0, none, *r
	c.trim(e)
}

// trim gives up the bodies of the oldest replies that are kept while they are
// too many bytes together: of those it is known that they were done, and no
// more. The latest one is kept whatever its size, for its first sending.
func (c *Callee[C]) trim(latest *callEntry[C]) {
	for n := c.acked + 1; c.bytes > int(c.maxBytes) && n < c.turn; n++ {
		if e := c.at(n); e != nil && e != latest && e.state == callDone && len(e.reply.Body) > 0 {
			c.bytes -= len(e.reply.Body)
			if e.reply.Body = nil; e.reply.Code == 0 {
				e.reply = Reply{Code: ErrReplyGone}
			}
		}
	}
}

// Move gives the numbers to a new holder: what waited ends as not run, what
// was stored is forgotten, and what runs goes on without being anybody's. It
// returns the first number that the new holder may use.
func (c *Callee[C]) Move() (next uint64) {
	next = max(c.Top()+1, c.turn)
	c.log, c.one, c.bytes = nil, [1]callEntry[C]{}, 0
	c.acked, c.turn, c.top = next-1, next, next-1
	return next
}

// Cancelled is what Cancel found.
type Cancelled uint8

// What became of the number that was to be cancelled.
const (
	CancelRefused Cancelled = iota // a number out of range
	CancelBefore                   // it will never run: the tombstone is set
	CancelRunning                  // it runs: cancel its context, its own end will be the answer
	CancelLate                     // it had ended before: the stored reply is the answer
)

// Cancel ends number n with code if it has not started.
func (c *Callee[C]) Cancel(n uint64, code Code) Cancelled {
	if n == 0 || n > c.acked+uint64(c.window) {
		return CancelRefused
	}
	if n <= c.acked {
		return CancelLate
	}
	e := c.at(n)
	if e == nil {
		e = c.grow(n)
	}
	switch e.state {
	case callDone:
		return CancelLate
	case callRunning:
		return CancelRunning
	case callAbsent, callWaiting:
	}
	c.top = max(c.top, n)
	e.cancelled = true
	c.settle(e, &Reply{Code: code, Outcome: NotRun})
	return CancelBefore
}

// Held returns what Arrive was given for a call that waits or runs.
func (c *Callee[C]) Held(n uint64) (call C, ok bool) {
	if e := c.at(n); e != nil && (e.state == callWaiting || e.state == callRunning) {
		return e.call, true
	}
	return call, false
}

// Stored returns the reply kept for n.
func (c *Callee[C]) Stored(n uint64) (Reply, bool) {
	if n <= c.acked {
		return Reply{}, false
	}
	e := c.at(n)
	if e == nil || e.state != callDone {
		return Reply{}, false
	}
	return e.reply, true
}

// Waiting returns the calls that arrived and have not started, in order. It
// is for the end of a session: they are certainly not run.
func (c *Callee[C]) Waiting() (numbers []uint64, calls []C) {
	for n := c.acked + 1; n <= c.top; n++ {
		if e := c.at(n); e != nil && e.state == callWaiting {
			numbers = append(numbers, n)
			calls = append(calls, e.call)
		}
	}
	return numbers, calls
}

// Running returns the number of the call that runs, 0 if none does.
func (c *Callee[C]) Running() uint64 { return c.running }

// Acked returns up to which number replies have been forgotten.
func (c *Callee[C]) Acked() uint64 { return c.acked }

// Turn returns the lowest number that has neither started nor been settled.
func (c *Callee[C]) Turn() uint64 { return c.turn }

// Bytes returns how many bytes of calls and replies are kept.
func (c *Callee[C]) Bytes() int { return c.bytes }

// Kept returns for how many numbers something is kept.
func (c *Callee[C]) Kept() int { return int(c.top - min(c.top, c.acked)) }

// Top returns the highest number that ever arrived.
func (c *Callee[C]) Top() uint64 { return max(c.top, c.acked) }

func (c *Callee[C]) at(n uint64) *callEntry[C] {
	if len(c.log) == 0 || n <= c.acked || n > c.acked+uint64(len(c.log)) {
		return nil
	}
	return &c.log[n%uint64(len(c.log))]
}

// grow makes room for n, which is within the window. The ring starts at one
// entry, so that an idle session costs little, and doubles as the window is
// used.
func (c *Callee[C]) grow(n uint64) *callEntry[C] {
	size := uint64(max(1, len(c.log)))
	for c.acked+size < n {
		size *= 2
	}
	switch {
	case size == uint64(len(c.log)):
	case size == 1:
		c.log = c.one[:]
	default:
		bigger := make([]callEntry[C], size)
		for i := c.acked + 1; i <= c.acked+uint64(len(c.log)); i++ {
			bigger[i%size] = c.log[i%uint64(len(c.log))]
		}
		c.log, c.one = bigger, [1]callEntry[C]{}
	}
	return &c.log[n%size]
}
