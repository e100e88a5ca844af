package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/hook"
	"github.com/limpet-rpc/limpet/session"
)

// gatherMost bounds the results that go through gather in one call.
const gatherMost = hook.Most

// hooksClose is how long a run waits for its hooks to end; their lease ends
// them later.
const hooksClose = 5 * time.Second

// jobHooks are the hooks of one run: a session with their pool. Feed scatters,
// the reader's goroutine gathers; the session has their calls run in turn, and
// none of them waits for the job.
type jobHooks struct {
	session *Session // nil: it could not be opened, see err
	has     hook.Has
	err     error
}

// openHooks never fails: where there are no hooks, every item says why. What the
// job's workers must be, the hooks' host need not.
func openHooks(ctx context.Context, j *job) *jobHooks {
	h := new(jobHooks)
	var opts []OpenOption
	if _, has := ctx.Deadline(); !has {
		opts = append(opts, WithWait(jobWait))
	}
	h.session, h.err = j.client.OpenCall(ctx, j.stages[0].pool+hook.Suffix, hook.Hooks, nil, &h.has, opts...)
	return h
}

func (h *jobHooks) close(ctx context.Context) {
	if h.session == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hooksClose)
	defer cancel()
	_ = h.session.Close(ctx) // it was over, or ends by its lease
}

// scatter dispatches what the hook makes of an item, a page at a time: the next
// page is made when the last one has found room. False where the run has ended.
func (h *jobHooks) scatter(r *jobRun, index int, arg any) bool {
	if h.err == nil && !h.has.Scatter {
		return r.dispatch(&unit{index: index, arg: arg, send: arg})
	}
	part := 0
	next := func(u unit) bool {
		u.index, u.part, u.arg = index, part, arg
		part++
		return r.dispatch(&u)
	}
	body, raw, err := codec.Append(nil, arg)
	if err != nil {
		return next(unit{err: fmt.Errorf("item %d: %w", index, &session.Error{Code: session.ErrBadArgument, Outcome: session.NotRun, Text: err.Error()})})
	}
	for ask := (hook.Item{Index: index, Raw: raw, Body: body}); ; ask = (hook.Item{More: true}) {
		page, err := h.call(r.ctx, hook.Scatter, ask)
		if err != nil {
			return next(unit{err: hookError(err, session.NotRun, "item %d was not scattered beyond %d parts", index, part)})
		}
		for _, o := range page.Outs {
			u := unit{send: codec.Body{Bytes: o.Body, Raw: o.Raw}}
			if o.Fail != "" {
				u.err = &session.Error{Code: session.ErrMethod, Text: fmt.Sprintf("item %d: scatter: %s", index, o.Fail), Remote: true}
			}
			if !next(u) {
				return false
			}
		}
		if !page.More {
			return true
		}
	}
}

// call is one call of a hook: a page of what it makes.
func (h *jobHooks) call(ctx context.Context, method string, ask any) (page hook.Page, err error) {
	if h.err != nil {
		return page, h.err
	}
	err = h.session.Call(ctx, method, ask, &page)
	return page, err
}

// hookError is what became of an item whose hook's call failed. The outcome is
// the item's, not the hook call's, which therefore is no part of the chain.
func hookError(err error, o session.Outcome, format string, args ...any) error {
	text := err.Error()
	if e, ok := errors.AsType[*session.Error](err); ok && e.Text != "" {
		text = e.Text
	}
	return &session.Error{Code: session.CodeOf(err), Outcome: o, Text: fmt.Sprintf(format, args...) + ": " + text}
}

// gather yields what the hook makes of results; errors are yielded as they are.
// False where nobody wants more.
func (h *jobHooks) gather(r *jobRun, ready []*unit, yield func(*unit) bool) bool {
	if !h.has.Gather {
		return r.give(ready, yield)
	}
	for len(ready) > 0 {
		n, size := 1, len(ready[0].reply.Bytes)
		for n < len(ready) && size+len(ready[n].reply.Bytes) <= hook.Bytes {
			size += len(ready[n].reply.Bytes)
			n++
		}
		b := batch{units: ready[:n], yield: yield}
		if !b.run(r, h) {
			return false
		}
		ready = ready[n:]
	}
	return true
}

// end yields what the hook adds after the last result.
func (h *jobHooks) end(r *jobRun, yield func(*unit) bool) {
	for ask := (hook.Results{}); h.has.End; ask.More = true {
		page, err := h.call(r.ctx, hook.End, ask)
		if err != nil {
			yield(&unit{index: -1, err: fmt.Errorf("end hook: %w", err)})
			return
		}
		for _, o := range page.Outs {
			if !yield(made(unit{index: -1}, hook.End, o)) {
				return
			}
		}
		if !page.More {
			return
		}
	}
}

// made is what a hook has made in the place of a unit.
func made(u unit, by string, o hook.Out) *unit {
	u.reply = codec.Body{Bytes: o.Body, Raw: o.Raw}
	if o.Fail != "" {
		u.err = &session.Error{Code: session.ErrMethod, Text: fmt.Sprintf("item %d: %s: %s", u.index, by, o.Fail), Remote: true}
	}
	return &u
}

// batch is some ends on their way through gather, in one call and as many more
// as its pages take.
type batch struct {
	units []*unit
	yield func(*unit) bool
	out   int  // units before it are dealt with
	some  bool // gather has made something of units[out]
}

// run is false where nobody wants more.
func (b *batch) run(r *jobRun, h *jobHooks) bool {
	var ask hook.Results
	var places []int // of its results in units
	for i, u := range b.units {
		if u.err == nil {
			ask.List = append(ask.List, hook.Result{Index: u.index, Part: u.part, Raw: u.reply.Raw, Body: u.reply.Bytes})
			places = append(places, i)
		}
	}
	for len(places) > 0 {
		page, err := h.call(r.ctx, hook.Gather, ask)
		if err != nil {
			return b.lost(r, err)
		}
		for _, o := range page.Outs {
			if o.Of < 0 || o.Of >= len(places) || places[o.Of] < b.out {
				return b.lost(r, &session.Error{Code: session.ErrBadMessage, Text: fmt.Sprintf("a result of place %d, of %d", o.Of, len(places))})
			}
			at := places[o.Of]
			if !b.pass(r, at) || !b.yield(made(*b.units[at], hook.Gather, o)) {
				return false
			}
			b.some = true
		}
		if !page.More {
			break
		}
		ask = hook.Results{More: true}
	}
	return b.pass(r, len(b.units))
}

// pass deals with the units before a place: errors are yielded, what gather made
// nothing of is dropped.
func (b *batch) pass(r *jobRun, to int) bool {
	for ; b.out < to; b.out++ {
		u := b.units[b.out]
		r.free(1)
		switch {
		case u.err != nil:
			if !b.yield(u) {
				return false
			}
		case !b.some:
			r.tally.drop()
		}
		b.some = false
	}
	return true
}

// lost yields the end of all that gather has not dealt with for certain.
func (b *batch) lost(r *jobRun, err error) bool {
	for _, u := range b.units[b.out:] {
		r.free(1)
		if u.err == nil {
			u.err = hookError(err, session.Unknown, "item %d was done, its result was not gathered", u.index)
		}
		if !b.yield(u) {
			return false
		}
	}
	return true
}
