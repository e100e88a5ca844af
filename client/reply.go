package client

import (
	"context"
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/bounded"
	"github.com/limpet-rpc/limpet/internal/keep"
	"github.com/limpet-rpc/limpet/internal/prefetch"
	"github.com/limpet-rpc/limpet/session"
)

// replyTo waits for one call. What its end touches, on the loop, comes first, and is
// asked for as one (soon.go).
type replyTo struct {
	done  chan *core.Flow // holds three: the flow of a reply that has begun; alone; nil: the end
	ended chan struct{}   // closed at the end; nil where nobody needs it
	to    place
	raw   bool
	next  bool               // the body says where the work goes on
	sum   bool               // its worker gives its checksum
	sums  bool               // and its caller wants checksums
	over  bool               // owned by who waits, as seen: done has brought the end
	where prefetch.Goroutine // who waits was when the call began; zero where that is not said
	flow  *core.Flow         // of a reply that came in parts: done has brought it, or will
	err   *session.Error
	body  []byte
	got   []byte     // what the result is decoded from, or where it is appended
	again *usedAgain // nil for a waiter that is not
	seen  *core.Flow // done has brought it

	feed    *feeder // of an argument that goes in parts
	failure error   // of a call whose way was gone apart
	on      onward  // how it does
}

// place is where the body of a reply goes that comes in one message.
type place uint8

const (
	toKeep   place = iota // memory that is the caller's from then on
	toDecode              // got: nothing of it outlives the waiter
	toAppend              // got, which is the caller's, behind what is there
)

// keep copies a reply's body to its place. The loop calls it; w may be nil.
func (w *replyTo) keep(body []byte, kept *keep.Arena) []byte {
	if w == nil || w.to == toKeep {
		return kept.Keep(body)
	}
	before := len(w.got)
	w.got = append(w.got, body...)
	return w.got[before:]
}

// usedAgain is what a waiter keeps from one call for the next.
type usedAgain struct {
	// The call, until the core has it; see Client.leave.
	parcel parcel
	ask    core.Ask
	gone   session.Code // why it was given up before that, 0: it was not; guarded by the client's mu

	vigil

	args  []byte       // what the argument was encoded into
	timer *time.Timer  // of a wait, or nil
	fx    core.Effects // of the step that sends the call, where the loop sleeps
}

// listener is a waiter whose call's progress is told as it comes, which may be after
// its end.
type listener struct {
	*replyTo
	told func(body []byte, raw bool)
}

func (l *listener) step(body []byte, raw bool) { l.told(body, raw) }

// newReply returns a waiter that is not used again.
func newReply() *replyTo { return &replyTo{done: make(chan *core.Flow, 3)} }

// withEnd lets several wait for the end.
func (w *replyTo) withEnd() *replyTo {
	w.ended = make(chan struct{})
	return w
}

var replies = sync.Pool{New: func() any {
	both := new(struct { // side by side
		replyTo
		usedAgain
	})
	w := &both.replyTo
	w.done, w.again = make(chan *core.Flow, 3), &both.usedAgain
	w.again.parcel.give = w
	return w
}}

func (w *replyTo) give(c *Client, fx *core.Effects) {
	refused := errDone
	switch u := w.again; {
	case c.closed:
	case u.gone != 0:
		refused = neverSent(u.gone)
	default:
		u.under(c, w.done)
		refused = c.core.Call(c.loop.Time(), u.parcel.of, &u.ask, fx)
	}
	if refused != nil {
		own := *refused
		w.settle(&core.Result{Err: &own})
	}
}

func (w *replyTo) settle(r *core.Result) {
	w.body, w.raw, w.next, w.flow, w.sum, w.err = r.Body, r.Raw, r.Next, r.Flow, r.Sum, r.Err
	if w.ended != nil {
		close(w.ended)
	}
	w.done <- nil
}

func (w *replyTo) begun(f *core.Flow) { w.done <- f }

// awaited waits for what comes first: news, which it takes, or the end of ctx.
func (w *replyTo) awaited(ctx context.Context) (news bool) {
	if w.again != nil && w.again.told() {
		if news := <-w.done; news != &alone {
			w.heard(news)
			return true
		}
	}
	if b, ok := ctx.(*bounded.Context); ok && w.again != nil {
		return w.awaitedUntil(b)
	}
	done := ctx.Done()
	if done == nil {
		w.heard(<-w.done)
		return true
	}
	select {
	case news := <-w.done:
		w.heard(news)
		return true
	case <-done:
		return false
	}
}

// awaitedUntil does so with a timer that is used again.
func (w *replyTo) awaitedUntil(ctx *bounded.Context) (news bool) {
	end, _ := ctx.Deadline()
	if w.again.timer == nil {
		w.again.timer = time.NewTimer(time.Until(end))
	} else {
		w.again.timer.Reset(time.Until(end))
	}
	defer w.again.timer.Stop()
	select {
	case news := <-w.done:
		w.heard(news)
		return true
	case <-ctx.Parent().Done():
	case <-w.again.timer.C:
	}
	return false
}

// heard takes what done has brought, and reports that it is the end.
func (w *replyTo) heard(news *core.Flow) (ended bool) {
	switch {
	case news == &alone: // it comes before the end, and nobody waits for it
		return false
	case news != nil:
		w.seen = news
		return false
	case w.flow != nil && w.seen == nil:
		w.seen = <-w.done // the end has overtaken it
	}
	w.over = true
	return true
}

func (w *replyTo) release() {
	if w.again != nil {
		u := w.again
		u.parcel.of, u.ask, u.gone = nil, core.Ask{}, 0
		u.rest()
		done, got := w.done, w.got[:0]
		if w.to == toAppend || cap(got) > argKeep {
			got = nil
		}
		*w = replyTo{}
		w.done, w.got, w.again = done, got, u
		replies.Put(w)
	}
}

// answered is what a call has ended with.
func (w *replyTo) answered(ctx context.Context) (answer, error) {
	if w.failure != nil {
		return answer{}, w.failure
	}
	if w.err != nil {
		if w.err.Cause == nil {
			w.err.Cause = ctx.Err()
		}
		if w.feed != nil {
			w.feed.blame(w.err)
		}
		return answer{}, w.err
	}
	return answer{w.body, w.raw, w.next}, nil
}

// take decodes what a call has ended with, once what its handler went on with
// has ended too.
func (w *replyTo) take(ctx context.Context, result any) error {
	a, err := w.result(ctx)
	if err != nil {
		return err
	}
	return a.decode(result)
}

// result is what a call has ended with on the whole of its way.
func (w *replyTo) result(ctx context.Context) (answer, error) {
	a, err := w.answered(ctx)
	if err == nil && a.next {
		return w.on.follow(ctx, a)
	}
	return a, err
}

// tooLate is a call that was done after its caller had stopped waiting.
func tooLate(why error) *session.Error {
	e := gaveUp(why)
	e.Outcome = session.Done
	e.Text = "the call was done, too late for its caller"
	return e
}
