package client

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/prefetch"
	"github.com/limpet-rpc/limpet/internal/span"
	"github.com/limpet-rpc/limpet/session"
)

// Session is one open session: its worker serves it and nobody else until
// Close. It is safe for concurrent use; calls run one at a time, in the order
// in which they were made.
type Session struct {
	client *Client
	core   *core.Session // guarded by client.mu, but for what is fixed and for what says otherwise

	watch atomic.Pointer[watch] // of the context that calls were last seen to share
	under atomic.Uintptr        // where that of the last call was
	row   atomic.Uint32         // how many calls were under it
}

// ID is the session's public name.
func (s *Session) ID() session.ID { return s.core.ID() }

// Route is the routing path that open returned.
func (s *Session) Route() session.Route { return s.core.Route() }

// Direct reports whether calls go straight to the session's node just now,
// and not by a broker.
func (s *Session) Direct() bool {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	return s.core.Direct()
}

// cancelWait is how long a caller whose context has ended waits for the
// worker to say what became of the call.
const cancelWait = 250 * time.Millisecond

// Call runs a method of the session's worker and blocks until its end is
// known or ctx ends. Arg is encoded as MessagePack, a []byte is sent as it is;
// the result is decoded into reply, a pointer, or dropped where that is nil.
//
// An argument that is an io.Reader goes as bytes in parts, as they are read and as
// the worker takes them; its Read runs on another goroutine, and where it blocks
// it may still do so when Call returns before its end. A reply that is an
// io.Writer gets the result's bytes as they come; where the call fails in the
// middle, it has got some. What is too large for one message goes in parts too: a
// reply that is collected may have DefaultMaxReply bytes, see WithMaxReply, an
// argument what its pool allows.
//
// Every error is a *session.Error with an outcome: ErrNotRun, ErrUnknown, or
// neither: then the call was done, and the error is the method's own
// (ErrMethod, ErrWorkerPanic). A context that ends reaches the handler; the
// error says what became of the call, if the worker says so in a moment. A call
// that hangs ends with ErrWorkerHung, as ErrUnknown; where it hangs is in the
// error's Stack. A call that goes on elsewhere ends as with Do.
func (s *Session) Call(ctx context.Context, method string, arg, reply any, opts ...CallOption) error {
	ctx, own := s.client.span(ctx, s.core.Pool(), method)
	err := s.call(ctx, method, arg, reply, opts)
	endSpan(own, err)
	if err != nil {
		return fmt.Errorf("call %s: %w", method, err)
	}
	return nil
}

// Call runs a method with typed argument and result; see Session.Call.
func Call[R, A any](ctx context.Context, s *Session, method string, arg A, opts ...CallOption) (R, error) {
	if b, ok := any(&arg).(*[]byte); ok && len(*b) <= argMost && !summed(opts) {
		return callBytes[R](ctx, s, method, *b, opts)
	}
	var result R
	err := s.Call(ctx, method, arg, &result, opts...)
	return result, err
}

// callBytes is Call for an argument that goes as it is, in one message: nothing
// is put into an interface, which would be an allocation each.
func callBytes[R any](ctx context.Context, s *Session, method string, arg []byte, opts []CallOption) (R, error) {
	var own trace.Span
	if s.client.tracer != nil { // else nothing of the core's session is touched before its memory was asked for
		ctx, own = s.client.span(ctx, s.core.Pool(), method)
	}
	a, parts, err := s.exchange(ctx, method, arg, opts)
	if parts == nil && err == nil {
		var result R
		if taken(a, &result) {
			endSpan(own, nil)
			return result, nil
		}
	}
	result, err := decoded[R](ctx, s, method, a, parts, err)
	endSpan(own, err)
	return result, err
}

// decoded is the end of such a call where its result is not bytes in one message.
func decoded[R any](ctx context.Context, s *Session, method string, a answer, parts *replyTo, err error) (result R, _ error) {
	switch {
	case err != nil:
	case parts != nil:
		err = s.receive(ctx, parts, parts, &result)
	default:
		err = a.decode(&result)
	}
	if err != nil {
		err = fmt.Errorf("call %s: %w", method, err)
	}
	return result, err
}

// argKeep is the largest argument buffer that is used again.
const argKeep = 64 << 10

func (s *Session) call(ctx context.Context, method string, arg, result any, opts []CallOption) error {
	if err := ctx.Err(); err != nil {
		return gaveUp(err)
	}
	w := replies.Get().(*replyTo)
	w.on = onward{client: s.client, pool: s.core.Pool(), method: method, hops: hopsOf(opts)}
	if inParts(arg, opts) {
		return s.callInParts(ctx, w, method, arg, result, opts)
	}
	args, raw, err := codec.Append(w.again.args[:0], arg)
	if err != nil {
		w.release()
		return &session.Error{Code: session.ErrBadArgument, Outcome: session.NotRun, Text: err.Error()}
	}
	if len(args) > argMost {
		return s.callInParts(ctx, w, method, encoded{args, raw}, result, opts)
	}
	if cap(args) <= argKeep {
		w.again.args = args
	}
	if !codec.Shares(result) {
		w.to = toDecode
	}
	s.begin(ctx, w, method, args, raw, opts)
	return s.await(ctx, w, result)
}

// AppendCall is Call for bytes: the result is appended to dst, and the longer slice
// returned, as with append. Where dst has room for it nothing is allocated. Until it
// returns, arg must stay as it is, and dst and what is behind its length are the
// call's. With an error dst is returned as it was; what is behind its length may have
// changed.
func (s *Session) AppendCall(ctx context.Context, dst []byte, method string, arg []byte, opts ...CallOption) ([]byte, error) {
	var own trace.Span
	if s.client.tracer != nil { // as in callBytes
		ctx, own = s.client.span(ctx, s.core.Pool(), method)
	}
	longer, err := s.appendCall(ctx, dst, method, arg, opts)
	endSpan(own, err)
	if err != nil {
		return dst, fmt.Errorf("call %s: %w", method, err)
	}
	return longer, nil
}

func (s *Session) appendCall(ctx context.Context, dst []byte, method string, arg []byte, opts []CallOption) (longer []byte, err error) {
	if len(arg) > argMost || summed(opts) {
		return appended(dst, func(result *[]byte) error { return s.call(ctx, method, arg, result, opts) })
	}
	if err := ctx.Err(); err != nil {
		return nil, gaveUp(err)
	}
	w := replies.Get().(*replyTo)
	w.to, w.got = toAppend, dst
	s.begin(ctx, w, method, arg, true, opts)
	if err := s.wait(ctx, w, w); err != nil {
		return nil, err
	}
	if w.next || w.seen != nil {
		w.on = onward{client: s.client, pool: s.core.Pool(), method: method, hops: hopsOf(opts)}
	}
	if w.seen != nil {
		return appended(dst, func(result *[]byte) error { return s.receive(ctx, w, w, result) })
	}
	defer w.release()
	a, err := w.result(ctx)
	if err != nil {
		return nil, err
	}
	if a.raw && !w.next {
		return w.got, nil
	}
	return appended(dst, func(result *[]byte) error { return a.decode(result) })
}

// appended appends to dst what a call has as its result that did not come there by
// itself.
func appended(dst []byte, of func(result *[]byte) error) ([]byte, error) {
	var result []byte
	err := of(&result)
	return append(dst, result...), err
}

// exchange makes a call whose argument is bytes that go in one message, and waits
// for its end. Where the reply comes in parts they are still to be received.
func (s *Session) exchange(ctx context.Context, method string, arg []byte, opts []CallOption) (a answer, parts *replyTo, err error) {
	if err := ctx.Err(); err != nil {
		return answer{}, nil, gaveUp(err)
	}
	w := replies.Get().(*replyTo)
	s.begin(ctx, w, method, arg, true, opts)
	if err := s.wait(ctx, w, w); err != nil {
		return answer{}, nil, err
	}
	if w.next || w.seen != nil {
		w.on = onward{client: s.client, pool: s.core.Pool(), method: method, hops: hopsOf(opts)}
	}
	if w.seen != nil {
		return answer{}, w, nil
	}
	a, err = w.result(ctx)
	w.release()
	return a, nil, err
}

// begin makes a call whose end, also that it was refused, comes to w. The
// arguments are the call's until then.
func (s *Session) begin(ctx context.Context, w *replyTo, method string, args []byte, raw bool, opts []CallOption) {
	w.where = prefetch.Here()
	u := w.again
	a := &u.ask // zero
	a.Method, a.Args, a.Raw, a.Tag = method, args, raw, w
	u.parcel.of = s.core
	is := s.watched(ctx)
	if is == nil {
		is = u.watched(ctx, s.client)
	}
	if is != nil {
		u.watch, a.Deadline, a.Trace = is.watch, is.deadline, is.trace
	} else {
		a.Trace = span.Of(ctx)
		a.Deadline, _ = ctx.Deadline()
		u.brief = s.client.brief(ctx)
	}
	if len(opts) > 0 {
		say(a, opts)
	}
	s.client.leave(&u.parcel, &u.fx)
}

// await waits for a call's end or ctx's.
func (s *Session) await(ctx context.Context, w *replyTo, result any) error {
	return s.awaitAs(ctx, w, w, result)
}

// awaitAs does so for a call whose tag in the core is not w itself.
func (s *Session) awaitAs(ctx context.Context, w *replyTo, tag waiter, result any) error {
	if err := s.wait(ctx, w, tag); err != nil {
		return err
	}
	if w.seen != nil {
		return s.receive(ctx, w, tag, result)
	}
	defer w.release()
	return w.take(ctx, result)
}

// wait is for a call's end, or the beginning of its reply. Where it returns an
// error there is nothing more to be had of w.
func (s *Session) wait(ctx context.Context, w *replyTo, tag waiter) error {
	if w.awaited(ctx) {
		return nil
	}
	if !s.giveUp(w, tag, ctx.Err()) {
		return s.abandon(w, tag, ctx.Err())
	}
	if w.seen == nil {
		return nil
	}
	return s.late(ctx, w, ctx.Err())
}

// cut gives up a call, and is what its caller is told.
// There is nothing more to be had of w.
func (s *Session) cut(ctx context.Context, w *replyTo, tag waiter, why error) error {
	if !s.giveUp(w, tag, why) {
		return s.abandon(w, tag, why)
	}
	return s.late(ctx, w, why)
}

// late is what the caller of a call is told that has ended after he gave it up.
// There is nothing more to be had of w.
func (s *Session) late(ctx context.Context, w *replyTo, why error) error {
	defer w.release()
	s.client.unread(w.seen)
	if w.err != nil {
		_, err := w.answered(ctx)
		return err
	}
	return tooLate(why)
}

// send gives a call that its caller does not wait for to the core, which copies
// its arguments.
func (s *Session) send(ask core.Ask) (refused *session.Error) {
	if !s.client.step(func(now time.Time, fx *core.Effects) { refused = s.client.core.Call(now, s.core, &ask, fx) }) {
		return errDone
	}
	return refused
}

// giveUp asks the worker to cancel a call, and waits a moment for what it
// says. It is false where nothing was heard. A call that the core has not got yet,
// for it is in the hands of whoever gives it, ends there.
func (s *Session) giveUp(w *replyTo, tag waiter, why error) bool {
	code := gaveUp(why).Code
	s.client.step(func(now time.Time, fx *core.Effects) {
		if !s.client.core.Cancel(now, s.core, tag, code, fx) && w.again != nil {
			w.again.gone = code
		}
	})
	patience := time.NewTimer(cancelWait)
	defer patience.Stop()
	for {
		select {
		case begun := <-w.done:
			if w.heard(begun) {
				return true
			}
		case <-patience.C:
			return false
		}
	}
}

// abandon stops waiting for a call of which nothing is known.
func (s *Session) abandon(w *replyTo, tag waiter, why error) error {
	e := gaveUp(why)
	fx := s.client.effects()
	s.client.mu.Lock()
	n, sent := s.client.core.Abandon(s.core, tag, fx)
	s.client.mu.Unlock()
	s.client.finish(fx)
	if n == 0 { // it was settled after all
		for !w.over {
			w.heard(<-w.done)
		}
		defer w.release()
		switch {
		case w.err != nil:
			return w.err
		case w.failure != nil:
			return w.failure
		}
		return tooLate(why)
	}
	e.Call = n
	if sent {
		e.Outcome, e.Text = session.Unknown, "the worker has not said what became of it"
	}
	if p, ok := tag.(*Pending); ok {
		endSpan(p.span, e) // its end never comes
	}
	return e
}

// closing waits for one Close.
type closing struct {
	s      *Session
	parcel parcel
	fx     core.Effects
	done   chan *core.Flow // holds two: alone; nil: the end
	err    *session.Error
	vigil
}

var closings = sync.Pool{New: func() any {
	w := &closing{done: make(chan *core.Flow, 2)}
	w.parcel.give = w
	return w
}}

func (w *closing) give(c *Client, fx *core.Effects) {
	if c.closed { // that has ended the session
		w.settle(&core.Result{})
		return
	}
	w.under(c, w.done)
	c.core.Close(c.loop.Time(), w.s.core, w, fx)
}

func (w *closing) settle(r *core.Result) {
	w.err = r.Err
	w.done <- nil
}

// Close ends the session and blocks until its node has confirmed it or ctx
// ends; the worker is given back either way. Calls still in flight are
// cancelled. Closing a session that is over already is not an error.
func (s *Session) Close(ctx context.Context) error {
	w := closings.Get().(*closing)
	w.s = s
	w.begin(ctx, s.client)
	s.client.leave(&w.parcel, &w.fx)
	if !w.ended(ctx, w.done) {
		return fmt.Errorf("close session %s: %w", s.ID(), ctx.Err())
	}
	err := w.err
	w.s, w.err = nil, nil
	w.rest()
	closings.Put(w) // only here: elsewhere its end may still come
	if err != nil && !isDone(err) {
		return fmt.Errorf("close session %s: %w", s.ID(), err)
	}
	return nil
}

// Err returns why the session is over, nil while it is open.
func (s *Session) Err() error {
	if e := s.core.Ended(); e != nil {
		own := *e
		return &own
	}
	return nil
}
