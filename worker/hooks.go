package worker

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"time"

	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/hook"
)

// hooksSlots is how many jobs may use the hooks of a node at once, where their
// Config does not say.
const hooksSlots = 256

// pageTime is how long a page waits to be full once it has a value.
const pageTime = 50 * time.Millisecond

// Hooks are the hooks of a pool's jobs: what makes parts of their items before
// the calls, and what sees their results after. Give them to Serve beside the
// pool, or without it: they are a pool of their own, called POOL/hooks, whose
// sessions each belong to one job (client.JobHooks). S is the state of a job,
// made by its first use of the hooks and ended with it: nothing else knows it,
// and where its node dies it is gone. Hooks of one job run one at a time.
type Hooks[S any] struct {
	*Pool[*hooked[S]]

	scatter, gather, end func(h *hooked[S], arg hookArg, emit func(hook.Out) bool)
}

// hookArg is what one of the three takes.
type hookArg struct {
	item hook.Item
	list []hook.Result
}

// NewHooks returns hooks that do nothing yet. Of the Config, Pool names the pool
// whose jobs they serve, Slots (default 256) is how many jobs use them at once;
// LockThread, CheckThread, Lanes, Prepare and Warm are not for hooks.
func NewHooks[S any](c Config[S]) *Hooks[S] {
	own := Config[*hooked[S]]{
		Pool: c.Pool + hook.Suffix, Slots: c.Slots,
		MinSlots: c.MinSlots, MaxSlots: c.MaxSlots, GrowAfter: c.GrowAfter, ShrinkAfter: c.ShrinkAfter,
		Policy: c.Policy, Value: c.Value,
		Lease: c.Lease, Idle: c.Idle, MaxAge: c.MaxAge, Window: c.Window, Budget: c.Budget,
		MaxArgument: c.MaxArgument, Stall: c.Stall,
		Close: func(h *hooked[S], why error) {
			if c.Close != nil {
				defer c.Close(h.state, why) // also where a hook does not take its end well
			}
			h.endPages()
		},
	}
	if own.Slots == 0 && own.MaxSlots == 0 {
		own.Slots = hooksSlots
	}
	own.Open = func(ctx context.Context, s *Session) (h *hooked[S], err error) {
		h = new(hooked[S])
		if c.Open != nil {
			h.state, err = c.Open(ctx, s)
		}
		return h, err
	}
	k := &Hooks[S]{Pool: NewPool(own)}
	if c.Pool == "" || c.Prepare != nil || c.Warm != 0 || c.LockThread || c.CheckThread || c.Lanes != 0 {
		k.mistake(errors.New("hooks want the name of a pool; they have no threads of their own (LockThread, CheckThread, Lanes) and prepare nothing ahead"))
	}
	Handle(k.Pool, hook.Hooks, func(context.Context, *hooked[S], any) (hook.Has, error) {
		return hook.Has{Scatter: k.scatter != nil, Gather: k.gather != nil, End: k.end != nil}, nil
	})
	Handle(k.Pool, hook.Scatter, func(ctx context.Context, h *hooked[S], item hook.Item) (hook.Page, error) {
		return h.parts.page(ctx, h, k.scatter, item.More, hookArg{item: item})
	})
	Handle(k.Pool, hook.Gather, func(ctx context.Context, h *hooked[S], r hook.Results) (hook.Page, error) {
		return h.results.page(ctx, h, k.gather, r.More, hookArg{list: r.List})
	})
	Handle(k.Pool, hook.End, func(ctx context.Context, h *hooked[S], r hook.Results) (hook.Page, error) {
		return h.results.page(ctx, h, k.end, r.More, hookArg{})
	})
	return k
}

// OnScatter adds the hook that makes parts of an item: each value that it emits
// is a call of the pool's method. None is fine, and a million are: it waits in
// emit, between two calls of the job, until the job's window has room for more.
// An error ends the item with ErrMethod, behind the parts that were emitted. An
// emit that fails says that nobody wants more: return its error.
func OnScatter[S, A, B any](k *Hooks[S], f func(ctx context.Context, state S, item A, emit func(B) error) error) {
	if k.scatter != nil {
		k.mistake(errors.New("there are two hooks that scatter"))
	}
	k.scatter = func(h *hooked[S], arg hookArg, emit func(hook.Out) bool) {
		e := emitter{emit: emit}
		var item A
		err := codec.Decode(arg.item.Body, arg.item.Raw, &item)
		if err == nil {
			err = f(h.parts.ctx, h.state, item, func(v B) error { return e.value(v) })
		} else {
			err = fmt.Errorf("takes %T: %w", item, err)
		}
		e.fail(err)
	}
}

// Result is one result of a job, as its gather hook sees it.
type Result[R any] struct {
	Index int // of the item that it comes from
	Part  int // which of those that scatter made of the item
	Value R
}

// OnGather adds the hook that sees the results of a job before its reader does:
// the reader gets what it emits in the place of a result, which may be the same,
// another, nothing, or several. Results come in the order in which they would
// have been read. Errors are OnScatter's.
func OnGather[S, R, T any](k *Hooks[S], f func(ctx context.Context, state S, r Result[R], emit func(T) error) error) {
	if k.gather != nil {
		k.mistake(errors.New("there are two hooks that gather"))
	}
	k.gather = func(h *hooked[S], arg hookArg, emit func(hook.Out) bool) {
		for i, r := range arg.list {
			e := emitter{emit: emit, of: i}
			result := Result[R]{Index: r.Index, Part: r.Part}
			err := codec.Decode(r.Body, r.Raw, &result.Value)
			if err == nil {
				err = f(h.results.ctx, h.state, result, func(v T) error { return e.value(v) })
			} else {
				err = fmt.Errorf("takes %T: %w", result.Value, err)
			}
			if !e.fail(err) {
				return
			}
		}
	}
}

// OnEnd adds the hook that runs once all results of a job have been gathered;
// what it emits is added behind them.
func OnEnd[S, T any](k *Hooks[S], f func(ctx context.Context, state S, emit func(T) error) error) {
	if k.end != nil {
		k.mistake(errors.New("there are two hooks for the end"))
	}
	k.end = func(h *hooked[S], _ hookArg, emit func(hook.Out) bool) {
		e := emitter{emit: emit}
		e.fail(f(h.results.ctx, h.state, func(v T) error { return e.value(v) }))
	}
}

// emitter encodes what one hook makes of one thing.
type emitter struct {
	emit func(hook.Out) bool
	of   int
	over bool // nobody wants more
}

func (e *emitter) value(v any) error {
	if e.over {
		return context.Canceled
	}
	body, raw, err := codec.Append(nil, v)
	if err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	if e.over = !e.emit(hook.Out{Of: e.of, Raw: raw, Body: body}); e.over {
		return context.Canceled
	}
	return nil
}

// fail ends it with an error, or with nil; false where nobody wants more.
func (e *emitter) fail(err error) bool {
	if err != nil && !e.over {
		text := err.Error()
		if text == "" {
			text = "failed without a word"
		}
		e.over = !e.emit(hook.Out{Of: e.of, Fail: text})
	}
	return !e.over
}

// hooked is one job's state.
type hooked[S any] struct {
	state          S
	parts, results pages[S]
}

func (h *hooked[S]) endPages() {
	defer h.results.stop()
	h.parts.stop()
}

// pages is one hook that runs, or waits between two of its pages.
type pages[S any] struct {
	ctx    *hookContext
	cancel context.CancelFunc
	next   func() (hook.Out, bool)
	end    func()
}

// page begins a hook, or has it go on, until a page is full or it has ended.
func (p *pages[S]) page(
	ctx context.Context, h *hooked[S], run func(*hooked[S], hookArg, func(hook.Out) bool), more bool, arg hookArg,
) (page hook.Page, err error) {
	if run == nil {
		return page, errors.New("there is no such hook")
	}
	if !more {
		p.begin(ctx, h, run, arg)
	} else if p.next == nil {
		return page, errors.New("there is nothing to go on with")
	}
	p.ctx.page.Store(&ctx)
	quit := context.AfterFunc(ctx, p.cancel) // whoever cancels the call cancels the hook
	defer quit()
	began, size := time.Now(), 0
	for len(page.Outs) < hook.Most && size < hook.Bytes && (len(page.Outs) == 0 || time.Since(began) < pageTime) {
		out, ok := p.next()
		if !ok {
			p.stop()
			return page, ctx.Err()
		}
		page.Outs = append(page.Outs, out)
		size += len(out.Body)
	}
	page.More = true
	return page, nil
}

func (p *pages[S]) begin(ctx context.Context, h *hooked[S], run func(*hooked[S], hookArg, func(hook.Out) bool), arg hookArg) {
	p.stop()
	p.ctx = new(hookContext)
	p.ctx.Context, p.cancel = context.WithCancel(context.WithoutCancel(ctx)) //nolint:gosec // stop calls it, at the latest with the session's end
	p.next, p.end = iter.Pull(func(yield func(hook.Out) bool) { run(h, arg, yield) })
}

// hookContext is a hook's, which outlives the call that began it: what the hook says of its
// progress is that of the call that asks for the page.
type hookContext struct {
	context.Context //nolint:containedctx // how it ends
	page            atomic.Pointer[context.Context]
}

// Value implements context.Context.
func (c *hookContext) Value(key any) any {
	if _, is := key.(callKey); is {
		return (*c.page.Load()).Value(key)
	}
	return c.Context.Value(key)
}

// stop ends a hook that waits for its next page to be asked for.
func (p *pages[S]) stop() {
	if p.next != nil {
		end := p.end
		p.next, p.end = nil, nil
		p.cancel()
		end()
	}
}
