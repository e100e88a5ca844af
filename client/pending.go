package client

import (
	"context"
	"fmt"
	"iter"
	"runtime"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/span"
	"github.com/limpet-rpc/limpet/session"
)

// stepsMost bounds the progress values that wait for their reader; past it the
// oldest make room.
const stepsMost = 256

// Pending is a call that was begun with Session.Go or Client.Go. One goroutine
// may read its progress while another waits for its end.
type Pending struct {
	reply *replyTo
	s     *Session        // nil: the call has one of its own
	ctx   context.Context //nolint:containedctx // the call's own, as in net/http's Request
	name  string
	span  trace.Span // its own, nil: it has none

	mu     sync.Mutex
	unhook func() bool // from ctx
	ended  bool        // and there is nothing to hook to

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

func newPending(ctx context.Context, s *Session, method string) *Pending {
	return &Pending{reply: newReply().withEnd(), s: s, ctx: ctx, name: method, news: make(chan struct{}, 1), done: make(chan struct{})}
}

// Go begins a call and does not wait for it: many may be in flight, and they
// run in the order of their Go. It blocks for nothing; what cannot be begun
// ends at once, with the error that Wait returns. When ctx ends the call is
// cancelled, whether anybody waits for it or not.
func (s *Session) Go(ctx context.Context, method string, arg any, opts ...CallOption) *Pending {
	ctx, own := s.client.span(ctx, s.core.Pool(), method)
	p := newPending(ctx, s, method)
	p.span = own
	if err := ctx.Err(); err != nil {
		return p.fail(gaveUp(err))
	}
	p.reply.on = onward{client: s.client, pool: s.core.Pool(), method: method, hops: hopsOf(opts), told: p.step}
	if inParts(arg, opts) {
		if refused := s.beginInParts(ctx, p.reply, p, method, arg, opts); refused != nil {
			return p.fail(refused)
		}
		return p.hook()
	}
	args, raw, err := codec.Append(nil, arg)
	if err != nil {
		return p.fail(&session.Error{Code: session.ErrBadArgument, Outcome: session.NotRun, Text: err.Error()})
	}
	if len(args) > argMost {
		if refused := s.beginInParts(ctx, p.reply, p, method, encoded{args, raw}, opts); refused != nil {
			return p.fail(refused)
		}
		return p.hook()
	}
	ask := core.Ask{Method: method, Args: args, Raw: raw, Trace: span.Of(ctx), Tag: p}
	ask.Deadline, _ = ctx.Deadline()
	say(&ask, opts)
	if refused := s.send(ask); refused != nil {
		return p.fail(refused)
	}
	return p.hook()
}

// hook has the call cancelled when its context ends, until it has ended itself.
func (p *Pending) hook() *Pending {
	if p.ctx.Done() == nil {
		return p
	}
	unhook := context.AfterFunc(p.ctx, func() {
		code := gaveUp(p.ctx.Err()).Code
		p.s.client.step(func(now time.Time, fx *core.Effects) { p.s.client.core.Cancel(now, p.s.core, p, code, fx) })
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.unhook = unhook; p.ended {
		unhook()
	}
	return p
}

// loose takes the call off its context, which has nothing to end any more.
func (p *Pending) loose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended = true; p.unhook != nil {
		p.unhook()
	}
}

// Go is Do that does not wait: a call in a session of its own, whose progress,
// and that of the steps that it goes on with, can be read while it runs.
func (c *Client) Go(ctx context.Context, pool, method string, arg any, opts ...OpenOption) *Pending {
	p := newPending(ctx, nil, method)
	if !c.apart(func() {
		a, err := c.whole(ctx, pool, method, arg, p.step, opts)
		p.end(a, err)
	}) {
		return p.fail(errDone)
	}
	return p
}

// apart runs f on a goroutine that Close waits for. It is false once the client
// is closed.
func (c *Client) apart(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.walks.Go(f)
	return true
}

func (p *Pending) fail(e *session.Error) *Pending {
	own := *e
	endSpan(p.span, &own)
	p.reply.settle(&core.Result{Err: &own})
	return p
}

// settle takes the call's end. One that goes on elsewhere has not ended: the
// rest of its way is gone apart from the loop, which must not wait.
func (p *Pending) settle(r *core.Result) {
	p.loose()
	if !r.Next {
		p.reply.on.client.endSpanApart(p.span, r.Err)
		p.reply.settle(r)
		return
	}
	a := answer{r.Body, r.Raw, true}
	if !p.reply.on.client.apart(func() { p.end(p.reply.on.follow(p.ctx, a)) }) {
		p.fail(errDone)
	}
}

// end takes the end of a call whose way was gone apart.
func (p *Pending) end(a answer, err error) {
	p.reply.failure = err
	endSpan(p.span, err)
	p.reply.settle(&core.Result{Body: a.body, Raw: a.raw})
}

func (p *Pending) begun(f *core.Flow) {
	runtime.AddCleanup(p, p.s.client.unread, f) // of one that nobody waits for
	p.reply.begun(f)
}

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
// result into reply, a pointer or nil. Its errors are those of Session.Call, or of
// Do. Only the first Wait decodes; every one returns the same error.
func (p *Pending) Wait(reply any) error {
	p.once.Do(func() {
		defer close(p.done)
		defer p.reply.feed.stop()
		err := p.wait(reply)
		if err != nil {
			p.err = fmt.Errorf("call %s: %w", p.name, err)
		}
		endSpan(p.span, err) // before its caller goes on, and also that of one that was given up
	})
	<-p.done
	return p.err
}

func (p *Pending) wait(reply any) error {
	if p.s != nil {
		return p.s.awaitAs(p.ctx, p.reply, p, reply)
	}
	<-p.reply.done // it looks at its context itself
	return p.reply.take(p.ctx, reply)
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
