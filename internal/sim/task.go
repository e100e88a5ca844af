package sim

import (
	"errors"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// task is one session's goroutine on its node, as package worker runs it: Open,
// then one call at a time, then Close.
type task struct {
	node    *nodePart
	seat    seat
	session *core.Session
	lane    int // that it has run on, -1: none
	record  *sessionRecord

	call    *core.Run // handed over, not begun
	stop    *session.Error
	busy    bool // in Open, in a handler or in Close
	left    bool // its slot is given up
	waking  bool
	current *running
	errand  *errand // or the broadcast's handler
	hurry   func()  // ends the context of Open
}

// running is the handler that runs.
type running struct {
	call      core.Call // a copy: the core's own is its own again after the end
	work      work
	end       func(code session.Code)
	cancelled bool
	step      uint64 // of its progress
	epoch     uint32 // of the holder when it began
}

func taskOf(s *core.Session) *task { return s.Task.(*task) }

func newTask(n *nodePart, s *core.Session) *task {
	t := &task{node: n, seat: seat{s.Pool(), s.Worker()}, session: s, lane: -1, record: n.w.truth.session(s.ID())}
	s.Task = t
	n.record.begin(t.seat, s.ID()) // before anybody can hear of the session
	return t
}

// open runs the pool's Open.
func (t *task) open() {
	w, n := t.node.w, t.node
	if w.plan.bare { // it is open already
		return
	}
	t.busy = true
	t.enter("Open")
	d := w.chance.skewed(0, 5*time.Millisecond)
	if w.plan.slowOpen && w.chance.in(0.3) {
		d = w.chance.skewed(0, 2*w.plan.lease) // its client may be gone by then
	}
	fails := w.plan.openFails && w.chance.in(0.2)
	ended := false
	end := func() {
		if ended {
			return
		}
		ended = true
		t.busy = false
		t.exit()
		n.changed = w.now
		var err error
		if fails {
			err = errOpen
			t.leave()
		}
		n.step(func(fx *core.Effects) { n.core.OpenDone(n.now(), t.session, err, fx) })
	}
	t.hurry = func() {
		if fails = w.chance.in(0.5); w.chance.in(0.8) {
			n.after(time.Millisecond, end)
		}
	}
	n.after(d, end)
}

var errOpen = errors.New("no such library")

// hand gives the goroutine its next call; its channel has room for one.
func (t *task) hand(r core.Run) {
	if t.call != nil || t.current != nil || t.errand != nil {
		t.node.w.fail("%s: session %s is handed call %d while it has another", t.node.name, t.session.ID(), r.Call.Number)
	}
	t.call = &r
	t.wake()
}

// halt tells the goroutine to end; its channel has room for one.
func (t *task) halt(why *session.Error) {
	if t.stop != nil {
		t.node.w.fail("%s: session %s is stopped twice", t.node.name, t.session.ID())
	}
	t.stop = why
	t.wake()
}

func (t *task) wake() {
	if t.busy || t.waking {
		return
	}
	t.waking = true
	t.node.after(t.node.w.chance.skewed(0, 2*time.Millisecond), t.turn)
}

// turn is the goroutine's select.
func (t *task) turn() {
	t.waking = false
	w, n := t.node.w, t.node
	switch {
	case t.busy:
	case t.call != nil && (t.stop == nil || w.chance.in(0.5)):
		run := *t.call
		t.call = nil
		t.begin(run)
	case t.stop != nil && t.left:
	case t.stop != nil:
		if t.call != nil {
			call, e, why := t.call.Call, t.call.Errand, t.stop
			t.call = nil
			n.step(func(fx *core.Effects) {
				if e != nil {
					n.core.ErrandDone(n.now(), e, session.Reply{Code: session.ErrCancelled, Outcome: session.NotRun}, fx)
					return
				}
				n.core.Done(n.now(), t.session, call.Number, &session.Reply{Code: why.Code, Outcome: session.NotRun, Body: wire.AppendFailure(nil, why.Text, "")}, fx)
			})
		}
		t.close()
	}
}

// begin runs a call, or the broadcast's method.
func (t *task) begin(r core.Run) {
	if r.Errand == nil {
		t.handle(*r.Call)
		return
	}
	t.busy = true
	t.enter("an errand")
	t.errand = newErrand(t.node, r.Errand, t.session.ID(), func(reply session.Reply) {
		t.errand = nil
		t.record.panics = t.record.panics || reply.Code == session.ErrWorkerPanic
		t.report(func(fx *core.Effects) { t.node.core.ErrandDone(t.node.now(), r.Errand, reply, fx) })
	})
}

// recall ends the context of an errand, which may not have begun.
func (t *task) recall(e *core.Errand) {
	switch {
	case t.errand != nil && t.errand.core == e:
		t.errand.cancel()
	case t.call != nil && t.call.Errand == e && t.node.w.casts.in(0.5): // the runtime looks before it begins
		n := t.node
		t.call, t.busy = nil, true // its goroutine does nothing else until it has said so
		n.after(0, func() {
			t.report(func(fx *core.Effects) {
				n.core.ErrandDone(n.now(), e, session.Reply{Code: session.ErrCancelled, Outcome: session.NotRun}, fx)
			})
		})
	}
}

// handle runs one call.
func (t *task) handle(call core.Call) {
	n := t.node
	t.busy = true
	t.enter("a call")
	if !call.Deadline.IsZero() && n.now().After(call.Deadline) { // it was handed over, and the process stopped
		n.after(0, func() { t.expired(call) })
		return
	}
	if call.Stream != nil {
		(&reading{t: t, call: call}).turn()
		return
	}
	t.work(call)
}

// work runs the handler of a call.
func (t *task) work(call core.Call) {
	w, n := t.node.w, t.node
	r := &running{call: call, work: parseWork(call.Args), epoch: t.record.epoch}
	t.current = r
	if w.history != nil {
		w.note("%-8s   runs call %d of session %s: %s", n.name, call.Number, t.session.ID().String()[:8], describeWork(call.Args))
	}
	n.record.start(t.seat, t.session.ID(), call.Number)
	counter := w.truth.started(t, &r.work, call.Number)
	ended := false
	r.end = func(code session.Code) {
		if ended {
			return
		}
		ended = true
		if size := w.truth.call(r.work.id).flows.reply; code == 0 && size >= 0 && !t.session.Once() {
			g := &giving{t: t, r: r, left: swell(appendReply(nil, r.work.id, counter), r.work.id, size)}
			g.end = func(code session.Code) { t.done(r, counter, code, code == 0) }
			g.turn()
			return
		}
		t.done(r, counter, code, false)
	}
	n.after(r.work.takes, func() { r.end(r.work.fails()) })
	if w.plan.steps && w.chance.in(0.4) {
		t.progress(r, w.chance.count(1, 5))
	}
	if r.work.beats {
		t.beat(r)
	}
	if !call.Deadline.IsZero() && r.work.obeys {
		n.after(call.Deadline.Sub(n.now()), func() { r.end(session.ErrDeadline) })
	}
}

// progress has the handler send values as it works.
func (t *task) progress(r *running, left int) {
	n := t.node
	n.after(n.w.chance.between(0, r.work.takes/4+time.Millisecond), func() {
		if t.current != r || left == 0 {
			return
		}
		r.step++
		n.w.truth.call(r.work.id).steps = r.step
		n.w.truth.beat(r.work.id)
		n.step(func(fx *core.Effects) {
			if !n.core.Progress(n.now(), t.session, r.call.Number, r.step, appendReply(nil, r.work.id, r.step), true, fx) && !t.moved(r) && !t.record.hung {
				n.w.fail("%s: work %d runs and may not make progress", n.name, r.work.id)
			}
		})
		t.progress(r, left-1)
	})
}

// moved reports that the session has another holder since a call began.
func (t *task) moved(r *running) bool { return t.record.epoch > r.epoch }

// cancel ends the context of call n if that runs, or of Open for 0. A handler
// that looks at it ends soon.
func (t *task) cancel(n uint64) {
	if n == 0 {
		t.hurry()
		return
	}
	if r := t.current; r != nil && r.call.Number == n && !r.cancelled {
		r.cancelled = true
		if r.work.obeys {
			t.node.after(t.node.w.chance.skewed(0, 20*time.Millisecond), func() { r.end(session.ErrCancelled) })
		}
	}
}

// done takes the end of a handler.
func (t *task) done(r *running, counter uint64, code session.Code, streamed bool) {
	w, n := t.node.w, t.node
	reply := session.Reply{Raw: true, Body: appendReply(nil, r.work.id, counter)}
	if streamed {
		reply = session.Reply{Raw: true, Stream: true}
	}
	if code != 0 {
		reply = session.Reply{Code: code, Outcome: session.Done, Body: wire.AppendFailure(nil, "as told", "")}
	}
	w.truth.finished(r.work.id)
	t.record.panics = t.record.panics || code == session.ErrWorkerPanic
	if w.history != nil {
		w.note("%-8s   call %d of session %s ends %s", n.name, r.call.Number, t.session.ID().String()[:8], code)
	}
	t.current = nil
	t.report(func(fx *core.Effects) { n.core.Done(n.now(), t.session, r.call.Number, &reply, fx) })
}

// expired ends a call whose deadline passed before its handler began.
func (t *task) expired(call core.Call) {
	reply := session.Reply{Code: session.ErrDeadline, Outcome: session.NotRun, Body: wire.AppendFailure(nil, "handed over too late", "")}
	t.report(func(fx *core.Effects) { t.node.core.Done(t.node.now(), t.session, call.Number, &reply, fx) })
}

// report ends a call; if the next one has arrived by then, the goroutine goes
// straight on with it.
func (t *task) report(done func(fx *core.Effects)) {
	n := t.node
	t.busy = false
	t.exit()
	var next []core.Run
	n.step(func(fx *core.Effects) {
		done(fx)
		if t.lane < 0 {
			next = append(next, fx.Run...)
			fx.Run = fx.Run[:0]
		}
	})
	if len(next) > 0 {
		t.begin(next[0])
	} else if t.call != nil || t.stop != nil {
		t.wake()
	}
}

// close runs the pool's Close.
func (t *task) close() {
	w, n := t.node.w, t.node
	t.busy = true
	t.enter("Close")
	d := w.chance.skewed(0, 5*time.Millisecond)
	if w.plan.slowClose && w.chance.in(0.3) {
		d = w.chance.skewed(0, 5*time.Second)
	}
	n.after(d, func() {
		t.leave()
		t.exit()
		n.step(func(fx *core.Effects) { n.core.Closed(n.now(), t.session, fx) })
	})
}

// leave gives the slot up.
func (t *task) leave() {
	t.left = true
	delete(t.node.seats, t.seat)
	t.node.changed = t.node.w.now
}
