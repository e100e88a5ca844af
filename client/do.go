package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/span"
	"github.com/limpet-rpc/limpet/session"
)

// Do runs one method on a session of its own: open, call and close in one
// trip. It blocks as Open and Call do, and its errors are theirs: what ends
// before a worker began is ErrNotRun, and a call of which nothing can be known
// any more is ErrUnknown, never a second run. Where the method goes on with others
// (worker.Next, worker.Fan), the result is that of the last; what fails on the way
// is a StageError. An argument of bytes is not copied: it must stay as it is until
// Do returns.
func Do[R, A any](ctx context.Context, c *Client, pool, method string, arg A, opts ...OpenOption) (R, error) {
	if b, ok := any(&arg).(*[]byte); ok && len(*b) <= argMost {
		return doBytes[R](ctx, c, pool, method, *b, opts)
	}
	var result R
	err := c.do(ctx, pool, method, arg, &result, opts)
	if err != nil {
		err = fmt.Errorf("do %s in pool %q: %w", method, pool, err)
	}
	return result, err
}

// doBytes is Do for an argument that goes as it is: nothing is put into an
// interface, which would be an allocation each.
func doBytes[R any](ctx context.Context, c *Client, pool, method string, arg []byte, opts []OpenOption) (result R, err error) {
	a, err := c.wholeBytes(ctx, pool, method, arg, opts)
	if err == nil {
		if taken(a, &result) {
			return result, nil
		}
		result, err = decodedAs[R](a)
	}
	if err != nil {
		err = fmt.Errorf("do %s in pool %q: %w", method, pool, err)
	}
	return result, err
}

// taken gives bytes to a result that is to have them as they are.
func taken[R any](a answer, result *R) bool {
	switch to := any(result).(type) {
	case *[]byte:
		if a.raw {
			*to = a.body
		}
	case *Body:
		if a.raw {
			*to = Body{Bytes: a.body, Raw: true}
		}
	default:
		return false
	}
	return a.raw
}

// decodedAs is an answer of any form.
func decodedAs[R any](a answer) (result R, err error) {
	err = a.decode(&result)
	return result, err
}

func (c *Client) do(ctx context.Context, pool, method string, arg, result any, opts []OpenOption) error {
	a, err := c.whole(ctx, pool, method, arg, nil, opts)
	if err != nil {
		return err
	}
	return a.decode(result)
}

// whole runs a method on a session of one call, and what its handlers go on
// with, to the end. Told gets the progress of all that, or is nil.
func (c *Client) whole(
	ctx context.Context, pool, method string, arg any, told func(body []byte, raw bool), opts []OpenOption,
) (a answer, err error) {
	ctx, own := c.span(ctx, pool, method)
	defer func() { endSpan(own, err) }()
	cfg, err := c.wish(ctx, pool, opts)
	if err != nil {
		return answer{}, err
	}
	args, raw, err := encode(arg, cfg.call)
	if err != nil {
		return answer{}, err
	}
	return c.through(ctx, pool, &cfg, request{method: method, args: args, raw: raw, opts: cfg.call, told: told})
}

// wholeBytes is whole for an argument of bytes, which are the call's until its end.
func (c *Client) wholeBytes(ctx context.Context, pool, method string, arg []byte, opts []OpenOption) (a answer, err error) {
	ctx, own := c.span(ctx, pool, method)
	cfg, err := c.wish(ctx, pool, opts)
	if err == nil && summed(cfg.call) {
		err = errParts()
	}
	if err == nil {
		a, err = c.through(ctx, pool, &cfg, request{method: method, args: arg, raw: true, opts: cfg.call})
	}
	endSpan(own, err)
	return a, err
}

// through runs a call on a session of its own, and what its handler goes on with.
func (c *Client) through(ctx context.Context, pool string, cfg *openConfig, r request) (answer, error) {
	a, err := c.once(ctx, *cfg, r)
	if err != nil || !a.next {
		return a, err
	}
	steps := *cfg // which one call alone need not have on the heap
	on := onward{client: c, pool: pool, method: r.method, cfg: &steps, hops: hopsOf(cfg.call), told: r.told}
	return on.follow(ctx, a)
}

// request is one call that travels with its session's open.
type request struct {
	method string
	args   []byte
	raw    bool
	opts   []CallOption
	told   func(body []byte, raw bool) // gets its progress, or nil
	hop    int                         // 0: it is the first
}

// once runs one method on a session of its own, and again where that was refused
// for a reason that a moment cures.
func (c *Client) once(ctx context.Context, cfg openConfig, r request) (a answer, err error) {
	cfg.wish.Once = true
	err = c.insist(ctx, &cfg, r.hop, func() error {
		var err error
		a, err = c.tryOnce(ctx, &cfg, r)
		return err
	})
	return a, err
}

func (c *Client) tryOnce(ctx context.Context, cfg *openConfig, r request) (answer, error) {
	if err := ctx.Err(); err != nil {
		return answer{}, gaveUp(err)
	}
	var w *replyTo
	if r.told == nil {
		w = replies.Get().(*replyTo)
	} else { // what it is told may come after its end
		w = newReply()
	}
	first, err := w.first(ctx, r)
	if err != nil {
		w.release()
		return answer{}, err
	}
	cfg.wish.First = first
	if w.again != nil {
		w.again.begin(ctx, c)
	}
	o := newOpening(cfg)
	c.leave(&o.parcel, &o.fx)
	if w.awaited(ctx) { // its end: no reply to the call of such a session comes in parts
		if w.over {
			o.release()
			defer w.release()
		}
		return w.answered(ctx)
	}
	code := gaveUp(ctx.Err()).Code
	c.step(func(now time.Time, fx *core.Effects) {
		if !o.drop() && o.asked {
			c.core.GiveUpFirst(now, &o.core, code, fx)
		}
	})
	if e := w.lastWord(ctx); e != nil {
		return answer{}, e
	}
	return w.answered(ctx)
}

// lastWord waits a moment for what becomes of a call whose open was given up.
// It is nil where the call was done all the same.
func (w *replyTo) lastWord(ctx context.Context) *session.Error {
	e := gaveUp(ctx.Err())
	patience := time.NewTimer(cancelWait)
	defer patience.Stop()
	for ended := false; !ended; {
		select {
		case news := <-w.done:
			ended = w.heard(news)
		case <-patience.C:
			e.Outcome, e.Call, e.Text = session.Unknown, 1, "nobody has said what became of it"
			return e
		}
	}
	if w.err == nil {
		return nil
	}
	if w.err.Code == session.ErrCancelled { // it was, because of what ctx ended with
		w.err.Code = e.Code
	}
	if w.err.Cause == nil {
		w.err.Cause = e.Cause
	}
	return w.err
}

// OpenCall opens a session whose first call travels with the open: two trips
// less than Open and Call. The result is decoded into reply. Where the call
// ends with an error of its own, the session is open and returned with it.
func (c *Client) OpenCall(ctx context.Context, pool, method string, arg, reply any, opts ...OpenOption) (*Session, error) {
	ctx, own := c.span(ctx, pool, method)
	s, err := c.openCall(ctx, pool, method, arg, reply, opts)
	endSpan(own, err)
	return s, err
}

func (c *Client) openCall(ctx context.Context, pool, method string, arg, reply any, opts []OpenOption) (*Session, error) {
	cfg, err := c.wish(ctx, pool, opts)
	if err != nil {
		return nil, fmt.Errorf("open session in pool %q with %s: %w", pool, method, err)
	}
	args, raw, err := encode(arg, cfg.call)
	var s *Session
	var w *replyTo
	if err == nil {
		steps := cfg
		err = c.insist(ctx, &cfg, 0, func() error {
			var err error
			r := request{method: method, args: args, raw: raw, opts: cfg.call}
			w = newReply() // it has one end
			if cfg.wish.First, err = w.first(ctx, r); err != nil {
				w = nil
				return err
			}
			w.on = onward{client: c, pool: pool, method: method, cfg: &steps, hops: hopsOf(cfg.call)}
			s, err = c.open(ctx, &cfg)
			return err
		})
	}
	if err != nil {
		if ended := ctx.Err(); w != nil && ended != nil && errors.Is(err, ended) {
			err = w.givenUp(ctx) // it may have run: the open had it along
		}
		return nil, fmt.Errorf("open session in pool %q with %s: %w", pool, method, err)
	}
	if err := s.await(ctx, w, reply); err != nil {
		return s, fmt.Errorf("call %s: %w", method, err)
	}
	return s, nil
}

// givenUp is what a caller is told who waits no longer for the session that its
// call came along with.
func (w *replyTo) givenUp(ctx context.Context) error {
	defer func() { w.on.client.unread(w.seen) }()
	if e := w.lastWord(ctx); e != nil {
		return e
	}
	e := gaveUp(ctx.Err())
	e.Outcome, e.Call, e.Text = session.Done, 1, "the call was done, too late for its caller"
	return e
}

// first prepares a call that travels with an open, and that w waits for. A waiter
// that was given up is not used again: its end may still come.
func (w *replyTo) first(ctx context.Context, r request) (*core.First, error) {
	if r.method == "" {
		return nil, &session.Error{Code: session.ErrMethodUnknown, Outcome: session.NotRun, Text: "no method named"}
	}
	if len(r.args) > argMost {
		return nil, &session.Error{
			Code: session.ErrTooLarge, Outcome: session.NotRun,
			Text: fmt.Sprintf("argument of %d bytes, at most %d without a session that is open", len(r.args), argMost),
		}
	}
	var f *core.First
	if w.again != nil {
		f = &w.again.ask
	} else {
		f = new(core.First)
	}
	*f = core.First{Method: r.method, Args: r.args, Raw: r.raw, Trace: span.Of(ctx), Tag: w}
	if r.told != nil {
		f.Tag = &listener{w, r.told}
	}
	f.Deadline, _ = ctx.Deadline()
	say(f, r.opts)
	return f, nil
}

// encode writes an argument.
func encode(arg any, opts []CallOption) (args []byte, raw bool, err error) {
	if inParts(arg, opts) {
		return nil, false, errParts()
	}
	args, raw, err = codec.Append(nil, arg)
	if err != nil {
		return nil, false, &session.Error{Code: session.ErrBadArgument, Outcome: session.NotRun, Text: err.Error()}
	}
	return args, raw, nil
}

// errParts is an argument that no open brings along.
func errParts() error {
	return notRun(session.ErrBadArgument, "an argument that goes in parts needs a session that is open")
}

// isDone reports that err says the client itself was closed.
func isDone(err error) bool { return errors.Is(err, session.ErrClientDone) }
