package core

import (
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// aside gives an errand a place on the side lane, or has it wait for one.
func (c *Core) aside(now time.Time, e *Errand, fx *Effects) {
	s := &c.castings
	switch place := slices.Index(s.places[:], nil); {
	case place >= 0:
		c.startAside(now, e, place, fx)
	case s.stuck():
		c.settleErrand(e, session.FateFailed, session.ErrOverloaded, stuckText, "")
	case len(s.waiting) >= asideWaiting:
		c.settleErrand(e, session.FateFailed, session.ErrOverloaded, "as many broadcasts wait at this node as may", "")
	default:
		s.waiting = append(s.waiting, e)
		s.patient = append(s.patient, e)
	}
}

// stuck reports that whatever has a place on the side lane hangs, and has been
// told so: nobody knows when a place comes free.
func (s *castings) stuck() bool {
	return !slices.ContainsFunc(s.places[:], func(e *Errand) bool { return e == nil || e.state != errandOver })
}

const stuckText = "whatever this node runs for broadcasts hangs"

func (c *Core) startAside(now time.Time, e *Errand, place int, fx *Effects) {
	s := &c.castings
	e.state, e.place = errandRunning, place
	s.places[place] = e
	if e.budget = e.of.budget(); e.budget > 0 {
		e.budget = max(e.budget, s.watchdog.Least())
		s.watchdog.Begin(now, &e.ward, e, e.budget)
	}
	fx.Errands = append(fx.Errands, e)
}

func (k *casting) budget() time.Duration {
	return k.pool.method([]byte(k.method)).budgetOf(k.patience)
}

func (c *Core) asideDone(now time.Time, e *Errand, r session.Reply, fx *Effects) {
	k := &c.castings
	k.watchdog.Forget(&e.ward)
	e.acquit()
	k.places[e.place] = nil
	c.finishErrand(e, r, c.draining, fx)
	if len(k.waiting) > 0 {
		next := k.waiting[0]
		k.waiting = k.waiting[1:]
		c.startAside(now, next, e.place, fx)
	}
}

// endErrands gives up the side lane of a node that ends.
func (c *Core) endErrands(code session.Code, text string, fx *Effects) {
	for _, e := range slices.Clone(c.castings.waiting) {
		c.recall(e, session.FateLeft, code, text, fx)
		c.tellErrands([]*Errand{e}, fx)
	}
	for _, e := range c.castings.places {
		if e != nil {
			c.recall(e, session.FateLeft, code, text, fx)
		}
	}
}

// watchAsides accuses errands whose budget is over, and condemns those of which
// nothing more was found in time, as watchCalls does with calls.
func (c *Core) watchAsides(now time.Time, fx *Effects) {
	k := &c.castings
	for _, e := range k.watchdog.Check(now) {
		e.exam = &exam{errand: e, method: e.of.method, trace: e.of.trace, until: now.Add(examineFor)}
		k.exams = append(k.exams, e.exam)
		fx.Hung = append(fx.Hung, Hung{Errand: e, Silent: k.watchdog.Silent(&e.ward)})
	}
	for x := k.exams.due(now); x != nil; x = k.exams.due(now) {
		c.condemnErrand(x, fx)
	}
}

// ExaminedErrand takes what was found out about one that hangs on the side lane.
func (c *Core) ExaminedErrand(e *Errand, f Finding, fx *Effects) {
	if e.exam != nil {
		if e.exam.found = f; f.Whole {
			c.condemnErrand(e.exam, fx)
		}
	}
}

// condemnErrand settles one that hangs. Its place is lost until it returns; with
// the last place goes what waits for one.
func (c *Core) condemnErrand(x *exam, fx *Effects) {
	e := x.errand
	if x.over || e.state != errandRunning {
		return
	}
	x.over, e.exam = true, nil
	x.silent = c.castings.watchdog.Silent(&e.ward)
	c.castings.watchdog.Forget(&e.ward)
	c.settleErrand(e, session.FateHung, session.ErrWorkerHung, x.verdict(e.budget), x.found.stacks())
	c.tellErrands([]*Errand{e}, fx)
	fx.Cancel = append(fx.Cancel, Cancel{Errand: e, Why: session.ErrCancelled})
	if !c.castings.stuck() {
		return
	}
	for _, waits := range slices.Clone(c.castings.waiting) {
		c.recall(waits, session.FateFailed, session.ErrOverloaded, stuckText, fx)
		c.tellErrands([]*Errand{waits}, fx)
	}
}

func (e *Errand) acquit() { e.exam = e.exam.acquitted() }
