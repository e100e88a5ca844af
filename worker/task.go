package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/limpet-rpc/limpet/internal/notrun"
	"github.com/limpet-rpc/limpet/internal/prefetch"
	"github.com/limpet-rpc/limpet/internal/startrec"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// task is one session's goroutine, or its part of a lane. Open, every call and
// Close run on it. What a call touches comes first, which makes three lines of memory.
type task struct {
	// fixed after newTask
	node    *node
	session *core.Session
	note    startrec.Slot
	lock    bool // to one OS thread
	laned   bool // it has no goroutine of its own, but turns on a lane
	check   bool
	bare    bool // the core has taken it as open already
	brief   bool // it is bare, without a lane, and was opened for one call, which is all that is handed over

	// owned by the loop
	waits bool // there is no goroutine yet, see begin
	given bool // a brief one has its call

	over    bool // it has ended for the core already; fixed as stop is
	follows bool // the call before had been followed at once; whose it is, see ended

	news chan struct{} // one for a call and one for the end: it has room for both; nil on a lane, of a brief one, and with a bell
	bell *bell         // instead of news, see newTowers; nil: none

	// Guarded by the node's mu. While a call runs they are fixed, and its goroutine's to
	// read; the node goes on once it has been told of the end.
	call    *core.Call   // handed over and not taken by the goroutine, which takes it away
	errand  *core.Errand // the latest call is this broadcast's; nil: the holder's
	current *callContext // the latest call's, or Open's; nil: it has ended

	// Of the goroutine while a call runs, of the node from done until the core has
	// been told.
	where prefetch.Goroutine // it was when its latest call began
	ended ended

	tenant served // owned by the goroutine
	info   Session

	// No call touches what follows. It is fixed after newTask, but for the last three.
	pool   Served
	badge  *badge
	stock  *stock         // of its pool's warm workers, nil: it keeps none
	stop   *session.Error // it is to end, for that; fixed before its news, or before parted
	parted atomic.Bool    // of a brief one: its goroutine has left, or is told the end; see leaves
	thread atomic.Int64   // that it is locked to, or checked for
	_      [8]byte        // so that a task begins where a line does
}

func newTask(n *node, s *core.Session, pool Served) *task {
	t := &task{
		node: n, session: s, pool: pool, laned: s.Lane() >= 0,
		note:  n.notes.slot(s.Pool(), s.Worker()),
		badge: n.badges.of(s.Pool(), s.Worker()),
		stock: n.stocks[s.Pool()],
	}
	t.info.task = t
	t.lock, t.check = pool.locks()
	t.bare = pool.bare()
	t.brief = t.bare && !t.laned && s.Once()
	switch {
	case t.laned:
		t.lock = true
	case t.brief:
	case t.lock && n.towers != nil:
		t.bell = n.towers.bell(s.Pool(), s.Worker())
	default:
		t.news = make(chan struct{}, 2)
	}
	if t.bare {
		t.tenant, _ = pool.begin(context.Background(), &t.info) // no code of the user's runs
	} else {
		t.current = &callContext{session: &t.info} // Open's
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
	case t.brief && !t.given, t.bare && !t.lock && !t.brief && len(t.news) == 0: // nobody else knows of it yet
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
	if t.stock != nil {
		defer t.stock.back()
	}
	if t.starts() {
		t.finish()
	}
}

// starts has the session begin, on its goroutine, and reports whether there is more
// for that to do: finish.
func (t *task) starts() (more bool) {
	switch {
	case !t.opens():
	case t.brief:
		t.only()
	default:
		return true
	}
	return false
}

// only serves a session of one call. Nobody waits for the end of one whose goroutine
// has left, see halt.
func (t *task) only() {
	if t.call != nil {
		t.turn()
	}
	t.depart()
}

// depart has the goroutine leave, who ends the session's state where he has been told
// of the end, and that is left to run.
func (t *task) depart() {
	if !t.leaves() && !t.over {
		t.close(t.stop)
	}
}

// opens has the goroutine be the session's, and reports whether that is open.
//
//go:noinline
func (t *task) opens() bool {
	if t.lock || t.check {
		t.thread.Store(int64(ThreadID()))
	}
	t.badge.wear()
	return t.bare || t.open()
}

// finish runs calls until the session ends, and ends its state. A call that was handed
// over before the end, and cancelled by it, comes to its own end first. Here a session
// waits: each frame below is one that the collector walks for every open session.
func (t *task) finish() {
	for {
		if t.bell == nil {
			<-t.news
		} else {
			t.bell.wait()
		}
		if t.call == nil {
			break
		}
		t.turn()
	}
	if !t.over {
		t.close(t.stop)
	}
}

// errExit is what a pool's code left behind that ended its goroutine. Whatever
// is left to do is done while the goroutine unwinds.
var errExit = errors.New("ended its goroutine (runtime.Goexit)")

func (t *task) open() (ok bool) {
	ctx, err := t.current, errExit
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in Open: %v", p)
			t.node.log.Error("panic in Open", "pool", t.info.Pool(), "session", t.info.ID(), "panic", p, "stack", stack())
		}
		ctx.finish(context.Canceled)
		t.node.openDone(t, err)
		if err != nil && t.laned {
			t.node.tasks.Done()
		}
	}()
	t.tenant, err = t.pool.begin(ctx, &t.info)
	return err == nil
}

// takes has the session be about to run a call, or a broadcast's where errand is
// not nil: from now on it can be cancelled. The caller holds mu, and gives it then.
func (t *task) takes(call *core.Call, errand *core.Errand) {
	ctx := t.node.newContext()
	ctx.session, ctx.number = &t.info, call.Number
	ctx.due(call.Deadline, t.node)
	t.call, t.errand, t.current = call, errand, ctx
}

// give hands over the call that the session has taken. It does not wait: the core
// hands over one call at a time. Who has a bell hears of it by the next peal.
func (t *task) give() {
	if t.laned {
		t.node.laneOf(t.session).orders <- turn{task: t}
		return
	}
	if t.given = true; !t.brief {
		t.tell()
	}
	t.rise()
}

// tell has the goroutine look what there is for it.
func (t *task) tell() {
	if t.bell != nil {
		t.bell.ring()
		return
	}
	t.news <- struct{}{}
}

// peal wakes the thread that has been told.
func (t *task) peal() {
	if t.bell != nil {
		t.bell.tower.peal()
	}
}

// halt tells the session to end, once. It does not wait either. Over says that it
// has ended for the core already.
func (t *task) halt(why *session.Error, over bool) {
	switch {
	case over && (t.laned || t.waits):
		t.node.tasks.Done() // nothing is left to run on the lane, or nothing has
	case t.laned:
		t.node.laneOf(t.session).orders <- turn{task: t, stop: why}
	case t.brief:
		t.stop, t.over = why, over
		if t.parted.CompareAndSwap(false, true) {
			t.rise()
		} else if !over {
			t.node.closed(t)
		}
	default:
		t.stop, t.over = why, over
		t.tell()
		t.peal()
		t.rise()
	}
}

// rise starts the goroutine of a session that has had none.
func (t *task) rise() {
	if t.waits {
		t.waits = false
		go t.run()
	}
}

// turn runs the call that was handed over.
func (t *task) turn() {
	call, errand, ctx := t.call, t.errand, t.current
	t.call, t.where = nil, prefetch.Here()
	n := call.Number
	t.handle(ctx, call, errand)
	t.node.done(t, n)
}

// leaves reports that nothing is left to run, also at the session's end, of which
// the goroutine has not been told yet: it was opened for the call that it has run.
func (t *task) leaves() bool { return t.parted.CompareAndSwap(false, true) }

// handle runs one call to its end, whatever that is, and leaves its reply in
// ended. It is short of local variables, and so are those that it calls on the way
// to the pool's code: a goroutine's stack stays as large as its calls once needed it.
func (t *task) handle(ctx *callContext, call *core.Call, errand *core.Errand) {
	if !t.begins(ctx, call, errand) {
		return
	}
	var run trace.Span
	if t.node.tracer != nil {
		run = t.node.span(ctx, t.info.Pool(), call.Method())
	}
	inside := false
	defer t.returned(ctx, call, run, &inside)
	args, raw, ok := t.ready(ctx, call)
	if !ok {
		return
	}
	inside = true
	if errand == nil {
		t.note.Start(call.Number)
		t.ended.reply.Body = call.Room // for a result that is encoded
	} else {
		args = bytes.Clone(args) // other sessions of this node get the same
	}
	body, raw, err := t.tenant.call(ctx, call, args, raw)
	inside = false
	t.concluded(ctx, errand, body, raw, err)
}

// begins has the context ready, unless the call was cancelled before.
func (t *task) begins(ctx *callContext, call *core.Call, errand *core.Errand) bool {
	if ctx.end.Load() != nil {
		t.fails(session.ErrCancelled, session.NotRun, "cancelled before it began")
		return false
	}
	if errand != nil {
		ctx.particular().errand = errand
	}
	if call.Traced {
		ctx.under(&call.Trace)
	}
	return true
}

//go:noinline
func (t *task) fails(code session.Code, o session.Outcome, text string) {
	t.ended.reply = failure(code, o, text, "")
}

// ready is what the handler gets; where that is not to run, its reply is left.
//
//go:noinline
func (t *task) ready(ctx *callContext, call *core.Call) (args []byte, raw, ok bool) {
	switch {
	case t.check && int64(ThreadID()) != t.thread.Load():
		t.fails(session.ErrWorkerPanic, session.NotRun, fmt.Sprintf("on OS thread %d, the session's is %d", ThreadID(), t.thread.Load()))
	case !call.Deadline.IsZero() && !time.Now().Before(call.Deadline):
		t.fails(session.ErrDeadline, session.NotRun, "its time was over before its turn came")
	case call.Stream == nil:
		return call.Args, call.Raw, true
	default:
		args, raw, refused := t.argument(ctx, call)
		if refused == nil {
			return args, raw, true
		}
		t.ended.reply = *refused
	}
	return nil, false, false
}

// concluded makes the reply of what the handler has returned.
//
//go:noinline
func (t *task) concluded(ctx *callContext, errand *core.Errand, body []byte, raw bool, err error) {
	reply := &t.ended.reply
	if err == nil {
		err = t.conclude(ctx, body, raw, reply)
	}
	if ctx.flows != nil {
		ctx.endFlows()
	}
	switch {
	case errand != nil:
		*reply = answerOf(ctx, reply.Body, reply.Raw, err)
	case err != nil:
		*reply = failed(ctx, err)
	}
}

// returned is deferred by handle: a call has ended, by whatever its handler did. Inside
// says that it has not come back.
func (t *task) returned(ctx *callContext, call *core.Call, run trace.Span, inside *bool) {
	ctx.finish(context.Canceled)
	p := recover()
	if p == nil && !*inside && run == nil {
		return
	}
	exits := p == nil && *inside
	if exits {
		p = errExit
	}
	if p != nil {
		t.ended.reply = t.panicked(call, p)
		ctx.endFlows()
	}
	if run != nil {
		endSpan(run, &t.ended.reply)
	}
	if exits {
		t.node.done(t, call.Number)
		switch {
		case t.brief:
			t.depart()
		case !t.laned:
			t.finish()
		}
	}
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
	t.node.log.Error("panic in a handler", "pool", t.info.Pool(), "method", string(call.Method()), "session", t.info.ID(), "panic", p, "stack", at)
	return failure(session.ErrWorkerPanic, session.Done, fmt.Sprintf("method %q: %v", call.Method(), p), at)
}

// cancel ends the context of a call or an errand, whether it runs or has only been
// handed over. Number zero is Open. The caller holds mu.
func (t *task) cancel(c core.Cancel) {
	if t.current == nil || t.current.number != c.Number || t.errand != c.Errand {
		return // it has ended meanwhile
	}
	err := context.Canceled
	if c.Why == session.ErrDeadline {
		err = context.DeadlineExceeded
	}
	t.current.finish(err)
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
// of its own, a refusal keeps its code, an error that the call's context caused is named so, everything else
// is the method's own.
func failed(ctx *callContext, err error) session.Reply {
	if e, ok := errors.AsType[flowError](err); ok {
		return failure(e.why.Code, session.Done, e.why.Text, "")
	}
	if o, ok := errors.AsType[*Onward](err); ok && o != nil {
		return o.reply()
	}
	if r, ok := errors.AsType[notrun.Error](err); ok {
		return failure(r.Code, session.NotRun, r.Text, "")
	}
	if e, ok := errors.AsType[*session.Error](err); ok && e.Code == session.ErrBadArgument && !e.Remote && e.Call == 0 && e.Outcome == session.Done {
		return failure(e.Code, session.Done, e.Text, "") // see session.Errorf; what became of the handler's own calls is not what became of this one
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
