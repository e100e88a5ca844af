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
	info    Session
	pool    Served
	note    startrec.Slot
	badge   *badge
	stock   *stock // of its pool's warm workers, nil: it keeps none
	lock    bool   // to one OS thread
	laned   bool   // it has no goroutine of its own, but turns on a lane
	check   bool
	bare    bool // the core has taken it as open already

	waits bool // owned by the loop: there is no goroutine yet, see begin

	// Of the goroutine while a call runs, of the node from done until the core has
	// been told.
	ended   ended
	follows bool // the call before had been followed at once

	// owned by the goroutine
	thread int
	tenant served

	mu        sync.Mutex
	news      sync.Cond      // there is work, or the end
	handed    bool           // work was handed over, and has not begun
	work      work           // while not handed: the goroutine's own
	stop      *session.Error // it is to end, for that
	over      bool           // it has ended for the core already
	gone      bool           // its goroutine is, before it was told to end, see leaves
	opening   *callContext   // Open's, nil after it
	current   *callContext   // of what runs, or has run last
	running   uint64         // the call's number
	errand    *core.Errand   // or the broadcast's
	cancelled uint64         // a number that was cancelled before its call began here
	recalled  *core.Errand   // likewise
}

func newTask(n *node, s *core.Session, pool Served) *task {
	t := &task{
		node: n, session: s, pool: pool, laned: s.Lane() >= 0,
		note:  n.notes.slot(s.Pool(), s.Worker()),
		badge: n.badges.of(s.Pool(), s.Worker()),
		stock: n.stocks[s.Pool()],
	}
	t.info.task, t.news.L = t, &t.mu
	if t.lock, t.check = pool.locks(); t.laned {
		t.lock = true
	}
	if t.bare = pool.bare(); t.bare {
		t.tenant, _ = pool.begin(context.Background(), &t.info) // no code of the user's runs
	} else {
		t.opening = &callContext{session: &t.info}
	}
	t.note.Begin(s.ID()) // before anybody can hear of the session
	return t
}

// begin starts the session's goroutine. A session that has nothing to open and
// no thread to hold has none until it has something to run. The loop calls it,
// once.
func (t *task) begin() {
	switch {
	case t.laned || t.stock != nil && t.stock.take(t):
	case t.bare && !t.lock && !t.handed && t.stop == nil: // nobody else knows of it yet
		t.waits = true
	default:
		go t.run()
	}
}

// run is the session's whole life. A goroutine that is locked to its thread
// never unlocks it, so that the thread ends with it.
func (t *task) run() {
	defer t.node.tasks.Done()
	if t.lock {
		runtime.LockOSThread()
	}
	if t.bare {
		spread()
	}
	t.live()
}

// spread has the stack grow once, while it is empty, and not three times under
// the first call of what may be a short session.
//
//go:noinline
func spread() {
	var room [4 << 10]byte
	runtime.KeepAlive(&room)
}

// live is run, on the goroutine that is the session's.
func (t *task) live() {
	if t.stock != nil {
		defer t.stock.back()
	}
	if t.lock || t.check {
		t.thread = ThreadID()
	}
	t.badge.wear()
	if t.bare || t.open() {
		t.finish()
	}
}

// finish serves the session until it ends, and ends its state.
func (t *task) finish() {
	if t.serve() && !t.over {
		t.close(t.stop)
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
			t.node.log.Error("panic in Open", "pool", t.info.Pool(), "session", t.info.ID(), "panic", p, "stack", stack())
		}
		t.opened()
		t.node.openDone(t, err)
		if err != nil && t.laned {
			t.node.tasks.Done()
		}
	}()
	t.tenant, err = t.pool.begin(t.opening, &t.info)
	return err == nil
}

// opened ends Open's context: nobody cancels it any more.
func (t *task) opened() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.opening.finish(context.Canceled)
	t.opening = nil
}

// order is what the core wants done: some work, or the end.
type order struct {
	work
	stop *session.Error
	over bool // it has ended for the core already
}

// work is a call, of the session's holder or of a broadcast.
type work struct {
	call   *core.Call
	errand *core.Errand // nil: the holder's
}

// give hands an order over. It does not wait: the core hands over one call at a
// time, and one end.
func (t *task) give(o order) {
	switch {
	case t.laned && o.over:
		t.node.tasks.Done() // nothing is left to run on the lane
	case t.laned:
		t.node.laneOf(t.session).orders <- turn{task: t, order: o}
	case t.waits && o.over:
		t.node.tasks.Done() // it has run nothing
	default:
		if gone := t.take(&o); gone && !o.over {
			t.node.closed(t)
		}
		if t.waits {
			t.waits = false
			go t.run()
		}
	}
}

// take keeps an order for the session's goroutine, unless that is gone.
func (t *task) take(o *order) (gone bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if o.stop != nil {
		t.stop, t.over = o.stop, o.over
	} else {
		t.work, t.handed = o.work, true
	}
	t.news.Signal()
	return t.gone
}

// serve runs calls until the session ends. A call that was handed over before
// the end, and cancelled by it, comes to its own end first. Told is false where
// the goroutine has not waited for the end.
func (t *task) serve() (told bool) {
	for ctx := t.next(); ctx != nil; ctx = t.next() {
		reply := t.handle(ctx, &t.work)
		n, errand := t.work.call.Number, t.work.errand
		t.work = work{} // the core hands over the next only after done
		t.node.done(t, n, errand, reply)
		if errand == nil && t.leaves() {
			return false
		}
	}
	return true
}

// leaves reports that nothing is left to run, also at the session's end, of which
// the goroutine has not been told yet: it was opened for the call that it has run.
func (t *task) leaves() bool {
	if !t.bare || !t.session.Once() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running, t.errand, t.current = 0, nil, nil
	t.gone = t.stop == nil
	return t.gone
}

// next waits for a call and begins it; it is nil at the session's end.
func (t *task) next() *callContext {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running, t.errand, t.current = 0, nil, nil // an idle session keeps nothing of its last call
	for !t.handed && t.stop == nil {
		t.news.Wait()
	}
	if !t.handed {
		return nil
	}
	t.handed = false
	return t.begun(&t.work)
}

// onLane begins a call whose turn on a lane has come.
func (t *task) onLane(w *work) *callContext {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.begun(w)
}

// begun makes the context that cancel ends, while mu is held.
func (t *task) begun(w *work) *callContext {
	ctx := &callContext{session: &t.info, errand: w.errand, number: w.call.Number, deadline: w.call.Deadline}
	ctx.under(&w.call.Trace)
	t.running, t.errand, t.current = w.call.Number, w.errand, ctx
	if w.errand != nil {
		ctx.stillborn = t.recalled == w.errand
	} else {
		ctx.stillborn = t.running != 0 && t.cancelled == t.running
	}
	return ctx
}

// handle runs one call to its end, whatever that is.
func (t *task) handle(ctx *callContext, w *work) (reply session.Reply) {
	if ctx.stillborn {
		return failure(session.ErrCancelled, session.NotRun, "cancelled before it began", "")
	}
	call := w.call
	run := t.node.span(ctx, t.info.Pool(), call.Method)
	inside := false
	defer func() {
		ctx.finish(context.Canceled)
		p := recover()
		exits := p == nil && inside
		if exits {
			p = errExit
		}
		if p != nil {
			reply = t.panicked(call, p)
			ctx.endFlows()
		}
		endSpan(run, &reply)
		if exits {
			t.node.done(t, call.Number, w.errand, reply)
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
	args, raw, refused := t.argument(ctx, call)
	if refused != nil {
		return *refused
	}
	inside = true
	if w.errand == nil {
		t.note.Start(call.Number)
	}
	body, raw, err := t.tenant.call(ctx, call.Method, args, raw)
	inside = false
	if err == nil {
		err = t.conclude(ctx, body, raw, &reply)
	}
	ctx.endFlows()
	if w.errand != nil {
		return answerOf(ctx, reply.Body, reply.Raw, err)
	}
	if err != nil {
		return failed(ctx, err)
	}
	return reply
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
func (t *task) panicked(call *core.Call, p any) session.Reply {
	at := stack()
	t.node.log.Error("panic in a handler", "pool", t.info.Pool(), "method", string(call.Method), "session", t.info.ID(), "panic", p, "stack", at)
	return failure(session.ErrWorkerPanic, session.Done, fmt.Sprintf("method %q: %v", call.Method, p), at)
}

// cancel ends the context of a call or an errand: the one that runs, or one that
// has been handed over and not begun. Number zero is Open.
func (t *task) cancel(c core.Cancel) {
	err := context.Canceled
	if c.Why == session.ErrDeadline {
		err = context.DeadlineExceeded
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case c.Number == 0 && c.Errand == nil && t.opening != nil:
		t.opening.finish(context.Canceled)
	case c.Number == 0 && c.Errand == nil: // Open has ended meanwhile
	case t.running == c.Number && t.errand == c.Errand:
		t.current.finish(err)
	case c.Errand != nil:
		t.recalled = c.Errand
	default:
		t.cancelled = c.Number
	}
}

func (t *task) close(why *session.Error) {
	defer func() {
		if p := recover(); p != nil {
			t.node.log.Error("panic in Close", "pool", t.info.Pool(), "session", t.info.ID(), "panic", p, "stack", stack())
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
	if e, ok := errors.AsType[flowError](err); ok {
		return failure(e.why.Code, session.Done, e.why.Text, "")
	}
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
