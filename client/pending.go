package client

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/session"
)

// stepsMost bounds the progress values that wait for their reader; past it the
// oldest make room.
const stepsMost = 256

// Pending is a call that was begun with Session.Go. One goroutine may read its
// progress while another waits for its end.
type Pending struct {
	reply *replyTo
	s     *Session
	ctx   context.Context //nolint:containedctx // the call's own, as in net/http's Request
	name  string

	mu    sync.Mutex
	steps []progress
	news  chan struct{} // holds one: something has been added
	once  sync.Once
	err   error
	done  chan struct{} // closed after the end was taken
}

type progress struct {
	body []byte
	raw  bool
}

// Go begins a call and does not wait for it: many may be in flight, and they
// run in the order of their Go. It blocks for nothing; what cannot be begun
// ends at once, with the error that Wait returns.
func (s *Session) Go(ctx context.Context, method string, arg any, opts ...CallOption) *Pending {
	p := &Pending{reply: newReply().withEnd(), s: s, ctx: ctx, name: method, news: make(chan struct{}, 1), done: make(chan struct{})}
	fail := func(e *session.Error) *Pending {
		own := *e
		p.reply.settle(&core.Result{Err: &own})
		return p
	}
	if err := ctx.Err(); err != nil {
		return fail(gaveUp(err))
	}
	if inParts(arg, opts) {
		if refused := s.beginInParts(ctx, p.reply, p, method, arg, opts); refused != nil {
			return fail(refused)
		}
		return p
	}
	args, raw, err := codec.Append(nil, arg)
	if err != nil {
		return fail(&session.Error{Code: session.ErrBadArgument, Outcome: session.NotRun, Text: err.Error()})
	}
	if len(args) > argMost {
		if refused := s.beginInParts(ctx, p.reply, p, method, encoded{args, raw}, opts); refused != nil {
			return fail(refused)
		}
		return p
	}
	ask := core.Ask{Method: method, Args: args, Raw: raw, Tag: p}
	ask.Deadline, _ = ctx.Deadline()
	say(&ask, opts)
	if refused := s.send(ask, new(core.Effects)); refused != nil {
		return fail(refused)
	}
	return p
}

func (p *Pending) settle(r *core.Result) { p.reply.settle(r) }

func (p *Pending) begun(f *core.Flow) { p.reply.begun(f) }

func (p *Pending) step(body []byte, raw bool) {
	p.mu.Lock()
	if len(p.steps) == stepsMost {
		p.steps = append(p.steps[:0], p.steps[1:]...)
	}
	p.steps = append(p.steps, progress{body, raw})
	p.mu.Unlock()
	select {
	case p.news <- struct{}{}:
	default: // the reader has been told and has not looked yet
	}
}

// Wait blocks until the call has ended, or its context has, and decodes the
// result into reply, a pointer or nil. Its errors are those of Session.Call.
// Only the first Wait decodes; every one returns the same error.
func (p *Pending) Wait(reply any) error {
	p.once.Do(func() {
		defer close(p.done)
		defer p.reply.feed.stop()
		if err := p.s.awaitAs(p.ctx, p.reply, p, reply); err != nil {
			p.err = fmt.Errorf("call %s: %w", p.name, err)
		}
	})
	<-p.done
	return p.err
}

// Progress yields the values that the handler sends with worker.Progress, as
// they come, until the call has ended. A slow reader misses the oldest beyond
// 256; a value that is lost on the way is not sent again. Decode errors are
// yielded and do not end it.
func Progress[P any](p *Pending) iter.Seq2[P, error] {
	return func(yield func(P, error) bool) {
		for {
			step, ok := p.next()
			if !ok {
				return
			}
			var v P
			err := codec.Decode(step.body, step.raw, &v)
			if !yield(v, err) {
				return
			}
		}
	}
}

// next returns the next value, or false at the end.
func (p *Pending) next() (progress, bool) {
	for {
		p.mu.Lock()
		if len(p.steps) > 0 {
			step := p.steps[0]
			p.steps = p.steps[1:]
			p.mu.Unlock()
			return step, true
		}
		p.mu.Unlock()
		select {
		case <-p.news:
			continue
		case <-p.reply.ended:
		case <-p.ctx.Done():
			return progress{}, false
		}
		p.mu.Lock()
		empty := len(p.steps) == 0
		p.mu.Unlock()
		if empty {
			return progress{}, false
		}
	}
}
