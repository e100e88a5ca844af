package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/session"
)

// Do runs one method on a session of its own: open, call and close in one
// trip. It blocks as Open and Call do, and its errors are theirs: what ends
// before a worker began is ErrNotRun, and a call of which nothing can be known
// any more is ErrUnknown, never a second run.
func Do[R, A any](ctx context.Context, c *Client, pool, method string, arg A, opts ...OpenOption) (R, error) {
	var result R
	err := c.do(ctx, pool, method, arg, &result, opts)
	if err != nil {
		err = fmt.Errorf("do %s in pool %q: %w", method, pool, err)
	}
	return result, err
}

func (c *Client) do(ctx context.Context, pool, method string, arg, result any, opts []OpenOption) error {
	cfg, err := c.wish(ctx, pool, opts)
	if err != nil {
		return err
	}
	first, w, err := firstCall(ctx, method, arg, cfg.call)
	if err != nil {
		return err
	}
	cfg.wish.First, cfg.wish.Once = first, true
	var o *core.Opening
	var refused *session.Error
	if !c.step(func(now time.Time, fx *core.Effects) { o, refused = c.core.Open(now, cfg.wish, nil, fx) }) {
		return errDone
	}
	if refused != nil {
		return refused
	}
	select {
	case <-w.done:
		return w.take(ctx, result)
	case <-ctx.Done():
	}
	code := gaveUp(ctx.Err()).Code
	c.step(func(now time.Time, fx *core.Effects) { c.core.GiveUpFirst(now, o, code, fx) })
	if e := w.lastWord(ctx); e != nil {
		return e
	}
	return w.take(ctx, result)
}

// lastWord waits a moment for what becomes of a call whose open was given up.
// It is nil where the call was done all the same.
func (w *replyTo) lastWord(ctx context.Context) *session.Error {
	e := gaveUp(ctx.Err())
	patience := time.NewTimer(cancelWait)
	defer patience.Stop()
	select {
	case <-w.done:
	case <-patience.C:
		e.Outcome, e.Call, e.Text = session.Unknown, 1, "nobody has said what became of it"
		return e
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
	cfg, err := c.wish(ctx, pool, opts)
	if err == nil {
		var first *core.First
		var w *replyTo
		if first, w, err = firstCall(ctx, method, arg, cfg.call); err == nil {
			cfg.wish.First = first
			return c.openCall(ctx, pool, method, cfg, w, reply)
		}
	}
	return nil, fmt.Errorf("open session in pool %q with %s: %w", pool, method, err)
}

func (c *Client) openCall(ctx context.Context, pool, method string, cfg openConfig, w *replyTo, reply any) (*Session, error) {
	s, err := c.open(ctx, cfg)
	if err != nil {
		if ended := ctx.Err(); ended != nil && errors.Is(err, ended) {
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
	if e := w.lastWord(ctx); e != nil {
		return e
	}
	e := gaveUp(ctx.Err())
	e.Outcome, e.Call, e.Text = session.Done, 1, "the call was done, too late for its caller"
	return e
}

// firstCall prepares a call that travels with an open. Its waiter is not
// pooled: an answer may come after everybody has stopped waiting.
func firstCall(ctx context.Context, method string, arg any, opts []CallOption) (*core.First, *replyTo, error) {
	if inParts(arg, opts) {
		return nil, nil, &session.Error{Code: session.ErrBadArgument, Outcome: session.NotRun, Text: "an argument that goes in parts needs a session that is open"}
	}
	args, raw, err := codec.Append(nil, arg)
	if err != nil {
		return nil, nil, &session.Error{Code: session.ErrBadArgument, Outcome: session.NotRun, Text: err.Error()}
	}
	if method == "" {
		return nil, nil, &session.Error{Code: session.ErrMethodUnknown, Outcome: session.NotRun, Text: "no method named"}
	}
	w := newReply()
	f := &core.First{Method: method, Args: args, Raw: raw, Tag: w}
	if len(args) > argMost {
		return nil, nil, &session.Error{
			Code: session.ErrTooLarge, Outcome: session.NotRun,
			Text: fmt.Sprintf("argument of %d bytes, at most %d without a session that is open", len(args), argMost),
		}
	}
	f.Deadline, _ = ctx.Deadline()
	say(f, opts)
	return f, w, nil
}

// take decodes what a call has ended with.
func (w *replyTo) take(ctx context.Context, result any) error {
	if w.err != nil {
		if w.err.Cause == nil {
			w.err.Cause = ctx.Err()
		}
		if w.feed != nil {
			w.feed.blame(w.err)
		}
		return w.err
	}
	if to, ok := result.(io.Writer); ok {
		if !w.raw {
			return errNoBytes()
		}
		if _, err := to.Write(w.body); err != nil {
			return &session.Error{Code: session.ErrCancelled, Text: "the call was done, its reply could not be written", Cause: err}
		}
		return nil
	}
	if err := codec.Decode(w.body, w.raw, result); err != nil {
		return &session.Error{Code: session.ErrBadMessage, Text: fmt.Sprintf("the call was done, its reply does not decode into %T: %s", result, err)}
	}
	return nil
}

// errNoBytes is a reply that was to be read or written as bytes, and is none.
func errNoBytes() *session.Error {
	return &session.Error{Code: session.ErrBadMessage, Text: "the call was done, its reply is a MessagePack value and no bytes"}
}

// isDone reports that err says the client itself was closed.
func isDone(err error) bool { return errors.Is(err, session.ErrClientDone) }
