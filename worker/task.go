package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/internal/startrec"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// task is one session's goroutine, or its part of a lane. Open, every call and
// Close run on it.
type task struct {
	// fixed after newTask
	node    *node
	session *core.Session
	info    *Session
	pool    Served
	lock    bool // to one OS thread
	laned   bool // it has no goroutine of its own, but turns on a lane
	check   bool
	bare    bool       // the core has taken it as open already
	orders  chan order // room for all: at most one call at a time, and one stop; nil on a lane
	opening *callContext
	note    startrec.Slot
	badge   *badge
	stock   *stock // of its pool's warm workers, nil: it keeps none

	// owned by the goroutine
	thread int
	tenant served

	mu        sync.Mutex
	current   *callContext // of the call that runs
	running   uint64       // its number
	cancelled uint64       // a number that was cancelled before its call began here
}

func newTask(n *node, s *core.Session, pool Served) *task {
	info := &Session{
		id: s.ID(), pool: s.Pool(), worker: s.Worker(), incarnation: s.Incarnation(), client: s.Client(), node: n.id, nodeName: n.name,
	}
	t := &task{
		node: n, session: s, info: info, pool: pool, laned: s.Lane() >= 0,
		note:  n.notes.slot(s.Pool(), s.Worker()),
		badge: n.badges.of(s.Pool(), s.Worker()),
		stock: n.stocks[s.Pool()],
	}
	info.badge = t.badge
	if t.lock, t.check = pool.locks(); t.laned {
		t.lock = true
	} else {
		t.orders = make(chan order, 2)
	}
	if t.bare = pool.bare(); t.bare {
		t.tenant, _ = pool.begin(context.Background(), info) // no code of the user's runs
	} else {
		t.opening = &callContext{session: info}
	}
	info.died = func(text string) {
		n.onLoop(func(fx *core.Effects) { n.core.Died(time.Now(), s, text, fx) })
	}
	t.note.Begin(info.id) // before anybody can hear of the session
	return t
}

// run is the session's whole life. A goroutine that is locked to its thread
// never unlocks it, so that the thread ends with it.
func (t *task) run() {
	defer t.node.tasks.Done()
	if t.lock {
		runtime.LockOSThread()
	}
	t.live()
}

// live is run, on the goroutine that is the session's.
func (t *task) live() {
	if t.stock != nil {
		defer t.stock.back()
	}
	t.thread = ThreadID()
	t.badge.wear()
	if t.bare || t.open() {
		t.finish()
	}
}

// finish serves the session until it ends, and ends its state.
func (t *task) finish() {
	if last := t.serve(); !last.over {
		t.close(last.stop)
	}
}

// errExit is what a pool's code left behind that ended its goroutine. Whatever
// is left to do is done while the goroutine unwinds.
var errExit = errors.New("ended its goroutine (runtime.Goexit)")

func (t *task) open() (ok bool) {
	err := errExit
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in Open: %v", p)
			t.node.log.Error("panic in Open", "pool", t.info.pool, "session", t.info.id, "panic", p, "stack", stack())
		}
		t.opening.finish(context.Canceled)
		t.node.openDone(t, err)
		if err != nil && t.laned {
			t.node.tasks.Done()
		}
	}()
	t.tenant, err = t.pool.begin(t.opening, t.info)
	return err == nil
}

// order is what the core wants done: a call, or the end.
type order struct {
	call core.Call
	stop *session.Error
	over bool // it has ended for the core already
}

// give hands an order over. It does not wait: the core hands over no more than
// there is room for.
func (t *task) give(o order) {
	switch {
	case !t.laned:
		t.orders <- o
	case o.over:
		t.node.tasks.Done() // nothing is left to run on the lane
	default:
		t.node.laneOf(t.session).orders <- turn{task: t, order: o}
	}
}

// serve runs calls until the session ends. A call that was handed over but not
// begun by then is certainly not run.
func (t *task) serve() (last order) {
	for {
		o := <-t.orders
		if o.stop != nil {
			return o
		}
		for call, ok := o.call, true; ok; {
			call, ok = t.node.done(t, call.Number, t.handle(call))
		}
	}
}

// handle runs one call to its end, whatever that is.
func (t *task) handle(call core.Call) (reply session.Reply) {
	ctx := &callContext{session: t.info, task: t, number: call.Number, deadline: call.Deadline}
	if !t.started(call.Number, ctx) {
		return failure(session.ErrCancelled, session.NotRun, "cancelled before it began", "")
	}
	inside := false
	defer func() {
		t.started(0, nil)
		ctx.finish(context.Canceled)
		if p := recover(); p != nil {
			reply = t.panicked(call, p)
		} else if inside {
			t.node.done(t, call.Number, t.panicked(call, errExit))
			if !t.laned {
				t.finish()
			}
		}
	}()
	if t.check && ThreadID() != t.thread {
		return failure(session.ErrWorkerPanic, session.NotRun, fmt.Sprintf("on OS thread %d, the session's is %d", ThreadID(), t.thread), "")
	}
	if !call.Deadline.IsZero() && !time.Now().Before(call.Deadline) {
		return failure(session.ErrDeadline, session.NotRun, "its time was over before its turn came", "")
	}
	inside = true
	t.note.Start(call.Number)
	body, raw, err := t.tenant.call(ctx, call.Method, call.Args, call.Raw)
	inside = false
	if err != nil {
		return failed(ctx, err)
	}
	return sized(session.Reply{Raw: raw, Body: body})
}

// sized is a reply, or what it is where no message carries it.
func sized(r session.Reply) session.Reply {
	if most := wire.MaxEnvelope - wire.HeaderSize; len(r.Body) > most {
		return failure(session.ErrTooLarge, session.Done, fmt.Sprintf("reply of %d bytes, at most %d", len(r.Body), most), "")
	}
	return r
}

// panicked is the reply of a call whose handler ended with p; it ends the
// session too.
func (t *task) panicked(call core.Call, p any) session.Reply {
	at := stack()
	t.node.log.Error("panic in a handler", "pool", t.info.pool, "method", string(call.Method), "session", t.info.id, "panic", p, "stack", at)
	return failure(session.ErrWorkerPanic, session.Done, fmt.Sprintf("method %q: %v", call.Method, p), at)
}

// started makes ctx the context that cancel ends; it is false for a call that
// was cancelled before.
func (t *task) started(number uint64, ctx *callContext) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running, t.current = number, ctx
	return number == 0 || t.cancelled != number
}

// cancel ends the context of call number: the one that runs, or one that has
// been handed over and not begun. Number zero is Open.
func (t *task) cancel(number uint64, why session.Code) {
	err := context.Canceled
	if why == session.ErrDeadline {
		err = context.DeadlineExceeded
	}
	if number == 0 {
		t.opening.finish(context.Canceled)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running == number {
		t.current.finish(err)
	} else {
		t.cancelled = number
	}
}

func (t *task) close(why *session.Error) {
	defer func() {
		if p := recover(); p != nil {
			t.node.log.Error("panic in Close", "pool", t.info.pool, "session", t.info.id, "panic", p, "stack", stack())
		}
		t.node.closed(t)
		if t.laned {
			t.node.tasks.Done()
		}
	}()
	t.tenant.close(why)
}

// failed turns a handler's error into a reply: where the work goes on is a reply
// of its own, the SDK's own errors keep their code, an error that the call's context caused is named so, everything else
// is the method's own.
func failed(ctx *callContext, err error) session.Reply {
	if o, ok := errors.AsType[*Onward](err); ok && o != nil {
		return o.reply()
	}
	if e, ok := errors.AsType[*session.Error](err); ok && (e.Code == session.ErrBadArgument || e.Code == session.ErrMethodUnknown) {
		return failure(e.Code, e.Outcome, e.Text, "")
	}
	if e, ok := errors.AsType[*DiedError](err); ok {
		return e.reply()
	}
	if ended := ctx.Err(); ended != nil && errors.Is(err, ended) {
		code := session.ErrCancelled
		if errors.Is(ended, context.DeadlineExceeded) {
			code = session.ErrDeadline
		}
		return failure(code, session.Done, err.Error(), "")
	}
	return failure(session.ErrMethod, session.Done, err.Error(), "")
}

func failure(code session.Code, o session.Outcome, text, stack string) session.Reply {
	return session.Reply{Code: code, Outcome: o, Body: wire.AppendFailure(nil, text, stack)}
}

// stack is the panicking goroutine's stack from the panic on, without the
// frames that only caught it.
func stack() string {
	s := string(debug.Stack())
	if i := strings.Index(s, "\npanic("); i >= 0 {
		s = s[i+1:]
	}
	return s
}
