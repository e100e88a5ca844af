package core

import (
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// A broadcast brings a node an errand, beside its sessions on the side lane, or
// one for each of several sessions, which runs there between two calls and uses
// up no number. The broker asks until it has the answer; whatever it asks twice
// is answered twice and runs once:
//
//	(unknown) --Cast--> waiting --turn--> running --ErrandDone, budget over--> over, kept with its answer
//	                       +--- session ended, deadline, busy ----------------> over, not run
//
// A session that waits for its errand is asked to wait no longer than the
// broadcast says. An errand that hangs in a session costs the session, as a call
// does; one that hangs on the side lane keeps its place there until it returns.
// Where all places are lost so, what waits or comes is not run: ErrOverloaded.

// Bounds of broadcasts at a node.
const (
	asideMost     = 16       // errands that run on the side lane at once
	asideWaiting  = 1024     // that wait for a place there
	errandsWait   = 64       // that wait in one session
	castingsMost  = 4096     // broadcasts that are remembered
	castingsBytes = 16 << 20 // of their arguments and answers
	castingsFor   = time.Minute
	castingLate   = 2 * time.Second // by how much a copy may be older than it says
	answerSize    = 256 << 10       // bytes of answers in one message, or one answer
)

type errandState uint8

const (
	errandWaiting errandState = iota
	errandRunning
	errandOver
)

// Errand is one run of a broadcast's method.
type Errand struct {
	// Task is whatever runs it; the core never looks at it.
	Task any

	of      *casting
	id      session.ID // of its session, zero on the side lane
	session *Session   // nil on the side lane
	place   int        // on the side lane
	state   errandState
	until   time.Time // when a busy session is waited for no longer; zero: for ever

	ward   heartbeat.Ward[*Errand] // on the side lane
	budget time.Duration
	exam   *exam

	fate  session.Fate
	reply session.Reply
}

// Call is what the errand's handler gets; it has no number.
func (e *Errand) Call() Call {
	k := e.of
	of := k.pool.method([]byte(k.method))
	return Call{of: of, Args: k.args, Raw: k.raw, Deadline: k.deadline, Patience: k.patience, Trace: k.trace, Traced: k.trace.Valid()}
}

// Pool is the name of its pool.
func (e *Errand) Pool() string { return e.of.pool.Name }

// Place is where it runs on the side lane, from 0.
func (e *Errand) Place() int { return e.place }

// errand begins one, or settles it at once.
func (c *Core) errand(now time.Time, k *casting, id session.ID, fx *Effects) *Errand {
	e := &Errand{of: k, id: id, place: -1}
	k.errands[id] = e
	k.open++
	c.castings.open++
	if k.dead {
		c.settleErrand(e, session.FateFailed, session.ErrCancelled, "nobody waits for it any more", "")
		return e
	}
	if id == (session.ID{}) {
		c.aside(now, e, fx)
		return e
	}
	s := c.sessions[id]
	switch {
	case s == nil || s.state != stateOpen || s.pool != k.pool:
		c.settleErrand(e, session.FateLeft, session.ErrSessionUnknown, "the session has ended", "")
	case len(s.errands) >= errandsWait:
		c.settleErrand(e, session.FateFailed, session.ErrOverloaded, "as many broadcasts wait in this session as may", "")
	case k.wait < 0 && s.busy():
		c.settleErrand(e, session.FateBusy, session.ErrNoWorker, "its session is at a call", "")
	default:
		e.session = s
		s.errands = append(s.errands, e)
		if k.wait > 0 {
			e.until = now.Add(k.wait)
		}
		c.castings.patient = append(c.castings.patient, e)
		c.next(now, s, fx)
	}
	return e
}

// busy reports that an errand could not run in the session at once.
func (s *Session) busy() bool {
	return s.callee.Running() != 0 || s.errand != nil || s.lane != nil && s.lane.taken()
}

// startErrand runs the first errand that waits in a session.
func (c *Core) startErrand(now time.Time, s *Session, fx *Effects) {
	e := s.errands[0]
	s.errands = s.errands[1:]
	e.state = errandRunning
	s.errand, s.yields = e, true
	if s.lane != nil {
		s.lane.busy = s
	}
	call := e.Call()
	c.guard(now, s, &call)
	fx.Run = append(fx.Run, Run{Session: s, Call: &call, Errand: e})
}

// ErrandDone takes the end of an errand that was run. A reply whose code says
// that the worker panicked or died ends its session.
func (c *Core) ErrandDone(now time.Time, e *Errand, r session.Reply, fx *Effects) {
	s := e.session
	if s == nil {
		c.asideDone(now, e, r, fx)
		return
	}
	if s.lane != nil {
		s.vacate()
		defer c.grant(now, s.lane, fx)
	}
	s.errand = nil
	if s.quarantined {
		return
	}
	c.dog.End(&s.ward)
	s.acquit()
	c.finishErrand(e, r, s.state != stateOpen, fx)
	if s.state != stateOpen {
		return
	}
	if r.Code == session.ErrWorkerPanic || r.Code == session.ErrWorkerDied {
		c.end(now, s, r.Code, wire.ParseFailure(r.Body).Text, fx)
		return
	}
	c.next(now, s, fx)
}

// finishErrand settles an errand by what its handler came to. One that was
// cancelled because its session or node ends has left.
func (c *Core) finishErrand(e *Errand, r session.Reply, ending bool, fx *Effects) {
	if e.state == errandOver {
		return
	}
	fate := session.FateFailed
	switch {
	case r.Code == 0:
		fate = session.FateAnswered
	case r.Code == session.ErrDeadline:
		fate = session.FateDeadline
	case r.Code == session.ErrWorkerDied:
		fate = session.FateDied
	case r.Code == session.ErrCancelled && ending:
		fate = session.FateLeft
	}
	c.over(e, fate, r)
	c.tellErrands([]*Errand{e}, fx)
	c.trim(e)
}

// trim gives up the answer of an errand, which has been sent once, where there is
// no room to remember it: that it was given stays known.
func (c *Core) trim(e *Errand) {
	size := len(e.reply.Body)
	if c.castings.bytes <= castingsBytes || size == 0 {
		return
	}
	e.of.size -= size
	c.castings.bytes -= size
	if e.reply.Body = nil; e.reply.Code == 0 {
		e.reply.Code = session.ErrReplyGone
	}
}

func (c *Core) settleErrand(e *Errand, fate session.Fate, code session.Code, text, stack string) {
	c.over(e, fate, session.Reply{Code: code, Body: wire.AppendFailure(nil, text, stack)})
}

// over notes what has become of an errand, once.
func (c *Core) over(e *Errand, fate session.Fate, r session.Reply) {
	if e.state == errandOver {
		return
	}
	e.state, e.fate, e.reply = errandOver, fate, r
	e.of.open--
	c.castings.open--
	e.of.size += len(r.Body)
	c.castings.bytes += len(r.Body)
}

// recall ends an errand that waits, and cancels the context of one that runs.
func (c *Core) recall(e *Errand, fate session.Fate, code session.Code, text string, fx *Effects) {
	switch e.state {
	case errandWaiting:
		c.settleErrand(e, fate, code, text, "")
		if s := e.session; s != nil {
			s.errands = slices.DeleteFunc(s.errands, func(o *Errand) bool { return o == e })
		} else {
			c.castings.waiting = slices.DeleteFunc(c.castings.waiting, func(o *Errand) bool { return o == e })
		}
	case errandRunning:
		fx.Cancel = append(fx.Cancel, Cancel{Session: e.session, Errand: e, Why: session.ErrCancelled})
	case errandOver:
	}
}

// dismiss ends the errands of a session that ends.
func (c *Core) dismiss(s *Session, code session.Code, text string, fx *Effects) {
	waiting := slices.Clone(s.errands)
	for _, e := range waiting {
		c.recall(e, session.FateLeft, code, text, fx)
		c.tellErrands([]*Errand{e}, fx)
	}
	if s.errand != nil {
		c.recall(s.errand, session.FateLeft, code, text, fx)
	}
}

// ErrandBeat is a sign of life of an errand. It is false where that does not
// run.
func (c *Core) ErrandBeat(now time.Time, e *Errand) bool {
	switch {
	case e.state != errandRunning:
		return false
	case e.session != nil:
		c.dog.Beat(now, &e.session.ward)
		e.session.acquit()
	default:
		c.castings.watchdog.Beat(now, &e.ward)
		e.acquit()
	}
	return true
}

// watchErrands settles those whose wait is over, examines those that hang, and
// forgets what is long over.
func (c *Core) watchErrands(now time.Time, fx *Effects) {
	k := &c.castings
	k.patient = slices.DeleteFunc(k.patient, func(e *Errand) bool { return c.waitedEnough(now, e, fx) })
	c.watchAsides(now, fx)
	if now.Sub(k.looked) < time.Second {
		return
	}
	k.looked = now
	for _, one := range k.all {
		if one.open == 0 && now.Sub(one.touched) > castingsFor {
			k.forget(one)
		}
	}
}

// waitedEnough reports that an errand does not wait any more, or may not.
func (c *Core) waitedEnough(now time.Time, e *Errand, fx *Effects) bool {
	switch {
	case e.state != errandWaiting:
		return true
	case !e.of.deadline.IsZero() && !now.Before(e.of.deadline):
		c.recall(e, session.FateDeadline, session.ErrDeadline, "its turn did not come in time", fx)
	case !e.until.IsZero() && !now.Before(e.until):
		c.recall(e, session.FateBusy, session.ErrNoWorker, "its session is at a call", fx)
	default:
		return e.until.IsZero() && e.of.deadline.IsZero()
	}
	c.tellErrands([]*Errand{e}, fx)
	return true
}

// errandHung settles the errand that hangs in a session, which ends with it.
func (c *Core) errandHung(e *Errand, text, stack string, fx *Effects) {
	c.settleErrand(e, session.FateHung, session.ErrWorkerHung, text, stack)
	c.tellErrands([]*Errand{e}, fx)
	fx.Cancel = append(fx.Cancel, Cancel{Session: e.session, Errand: e, Why: session.ErrCancelled})
}

// Errands returns how many errands are not over; those that hang are.
func (c *Core) Errands() int { return c.castings.open }
