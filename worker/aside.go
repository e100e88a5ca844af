package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/pprof"
	"time"

	"github.com/limpet-rpc/limpet/internal/notrun"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// HandleCast adds a method that broadcasts run once per node, beside the node's
// sessions and on a goroutine of its own: it has no session and takes no slot.
// It may have the name of a session's method, which broadcasts to the sessions
// run. Argument, result, context, errors and Progress are those of Handle, but
// that the values of Progress go to nobody; a panic ends nothing else. At most
// 16 run at once on a node, of all its pools; 1,024 more wait, but none where all
// 16 hang.
func HandleCast[S, A, R any](p *Pool[S], method string, f func(ctx context.Context, arg A) (R, error)) {
	switch _, twice := p.asides[method]; {
	case method == "" || method == anyMethod || len(method) > wire.MaxMethod:
		p.mistake(fmt.Errorf("method name %.40q: want 1 to %d bytes, and not %q", method, wire.MaxMethod, anyMethod))
		return
	case twice:
		p.mistake(fmt.Errorf("broadcast method %q is handled twice", method))
		return
	}
	p.asides[method] = func(ctx context.Context, args []byte, raw bool) ([]byte, bool, error) {
		arg, err := decodeArg[A](ctx, method, args, raw)
		if err != nil {
			return nil, false, err
		}
		result, err := f(ctx, arg)
		return resulting(ctx, method, result, err)
	}
}

type asideHandler func(ctx context.Context, args []byte, raw bool) (body []byte, rawReply bool, err error)

func (p *Pool[S]) aside(ctx context.Context, method string, args []byte, raw bool) ([]byte, bool, error) {
	h := p.asides[method]
	if h == nil {
		return nil, false, notrun.Errorf(session.ErrMethodUnknown, "pool %q has no broadcast method %q: add it with worker.HandleCast", p.config.Pool, method)
	}
	return h(ctx, args, raw)
}

// aside is one errand on the side lane. Its goroutine is waited for by Serve.
type aside struct {
	node   *node
	errand *core.Errand
	call   core.Call
	ctx    *callContext
	badge  *badge
}

// takeErrands makes the asides of errands that were given a place, while mu is
// held: they may be cancelled as soon as it is not.
func (n *node) takeErrands(fx *core.Effects) {
	for _, e := range fx.Errands {
		name := fmt.Sprintf("%s/%s/aside/%d", n.id, e.Pool(), e.Place())
		a := &aside{
			node: n, errand: e, call: e.Call(),
			badge: &badge{name: name, ctx: pprof.WithLabels(context.Background(), pprof.Labels(labelKey, name))},
		}
		a.ctx = &callContext{own: &particulars{aside: a, errand: e}}
		a.ctx.due(a.call.Deadline, n)
		a.ctx.under(&a.call.Trace)
		e.Task = a
		n.tasks.Add(1)
	}
}

// run is the errand's whole life.
func (a *aside) run() {
	defer a.node.tasks.Done()
	a.badge.wear()
	run := a.node.span(a.ctx, a.errand.Pool(), a.call.Method())
	reply := failure(session.ErrWorkerPanic, session.Done, fmt.Sprintf("method %q %v", a.call.Method(), errExit), "")
	defer func() {
		if p := recover(); p != nil {
			at := stack()
			a.node.log.Error("panic in a broadcast's handler", "pool", a.errand.Pool(), "method", string(a.call.Method()), "panic", p, "stack", at)
			reply = failure(session.ErrWorkerPanic, session.Done, fmt.Sprintf("method %q: %v", a.call.Method(), p), at)
		}
		a.ctx.finish(context.Canceled)
		endSpan(run, &reply)
		a.node.errandDone(a.errand, reply)
	}()
	reply = a.handle()
}

func (a *aside) handle() session.Reply {
	body, raw, err := a.node.pools[a.errand.Pool()].aside(a.ctx, string(a.call.Method()), a.call.Args, a.call.Raw)
	if f := a.ctx.flows; f != nil && err == nil {
		if w, ok := f.out.(*wholeReply); ok { // a result that was read
			body = w.Bytes()
		}
	}
	return answerOf(a.ctx, body, raw, err)
}

// answerMost bounds the result of a broadcast's method.
const answerMost = wire.MaxEnvelope - wire.MaxText

// answerOf is the reply of a broadcast's method.
func answerOf(ctx *callContext, body []byte, raw bool, err error) session.Reply {
	switch o, goesOn := errors.AsType[*Onward](err); {
	case goesOn && o != nil:
		return failure(session.ErrMethod, session.Done, "the method goes on elsewhere, which a member of a broadcast cannot", "")
	case err != nil:
		return failed(ctx, err)
	case len(body) > answerMost:
		return failure(session.ErrTooLarge, session.Done, fmt.Sprintf("answer of %d bytes, at most %d", len(body), answerMost), "")
	}
	return session.Reply{Raw: raw, Body: body}
}

// errandDone reports the end of one on the side lane.
func (n *node) errandDone(e *core.Errand, r session.Reply) {
	n.locked(func(fx *core.Effects) { n.core.ErrandDone(time.Now(), e, r, fx) })
}
