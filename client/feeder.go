package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/chunk"
	"github.com/limpet-rpc/limpet/internal/span"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// callInParts is call for an argument that goes in parts.
func (s *Session) callInParts(ctx context.Context, w *replyTo, method string, arg, result any, opts []CallOption) error {
	if refused := s.beginInParts(ctx, w, w, method, arg, opts); refused != nil {
		w.release()
		return refused
	}
	defer w.feed.stop()
	return s.await(ctx, w, result)
}

// beginInParts begins a call whose argument goes in parts. Tag is who waits for
// it in the core.
func (s *Session) beginInParts(ctx context.Context, w *replyTo, tag any, method string, arg any, opts []CallOption) *session.Error {
	p, err := partsOf(arg)
	if err != nil {
		return &session.Error{Code: session.ErrBadArgument, Outcome: session.NotRun, Text: err.Error()}
	}
	sum := summed(opts)
	f := &feeder{s: s, tag: tag, parts: p, flow: s.client.core.NewFlow(), done: make(chan struct{})}
	ask := core.Ask{Method: method, Args: wire.AppendStream(nil, wire.Stream{Size: p.size, Sum: sum}), Raw: p.raw, Flow: f.flow, Trace: span.Of(ctx), Tag: tag}
	ask.Deadline, _ = ctx.Deadline()
	say(&ask, opts)
	w.feed, w.sums = f, sum
	if refused := s.send(ask); refused != nil {
		w.feed = nil
		return refused
	}
	own, stop := context.WithCancel(context.Background())
	f.halt = stop
	go f.run(chunk.NewWriter(own, f, sum))
	return nil
}

// feeder gives an argument to the core, on a goroutine of its own: the one that
// calls waits for the reply meanwhile, which may come first.
type feeder struct {
	// fixed
	s    *Session
	tag  any
	flow *core.Flow
	parts
	halt context.CancelFunc
	done chan struct{} // closed at its end

	mu  sync.Mutex
	err error // of the reader
}

// run feeds to the end, or until the call has ended.
func (f *feeder) run(w *chunk.Writer) {
	defer close(f.done)
	var err error
	if f.from == nil {
		_, err = w.Write(f.bytes)
	} else {
		_, err = w.ReadFrom(f.from)
	}
	if err == nil {
		err = w.Flush()
	}
	switch {
	case err == nil:
		f.s.client.look(func(c *core.Core, fx *core.Effects) { c.FeedEnd(f.flow, w.Sum(), fx) })
	case errors.Is(err, chunk.ErrEnded) || errors.Is(err, context.Canceled):
	default:
		f.mu.Lock()
		f.err = fmt.Errorf("read the argument: %w", err)
		f.mu.Unlock()
		f.s.client.step(func(now time.Time, fx *core.Effects) {
			if !f.flow.Over() { // else the tag may be another call's by now
				f.s.client.core.Cancel(now, f.s.core, f.tag, session.ErrCancelled, fx)
			}
		})
	}
	w.Stop(chunk.ErrEnded)
}

// Give implements chunk.Sink.
func (f *feeder) Give(b *chunk.Block, bell chunk.Bell) (look chunk.Look, err error) {
	f.s.client.look(func(c *core.Core, fx *core.Effects) {
		look = lookOf(c.Feed(f.s.client.loop.Time(), f.flow, b.Body(), b, bell, fx))
	})
	return look, nil
}

// stop ends the feeding, whose call has ended. It waits, but for a reader that is
// being read: that may block for as long as it likes.
func (f *feeder) stop() {
	if f == nil {
		return
	}
	f.halt()
	if f.from == nil {
		<-f.done
	}
}

// blame says what the argument's reader did to its call.
func (f *feeder) blame(e *session.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		e.Cause = f.err
		e.Text = f.err.Error()
	}
}
