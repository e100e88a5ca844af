package sim

import (
	"time"

	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// Handlers hang in some worlds: they work for longer than their budget, with or
// without signs of life. What concerns that draws from a stream of its own, so
// that worlds without it are what they were.

// hang chooses the budget of every call, 0 for none.
func (p *plan) hang(c chance) {
	if c.in(0.3) {
		p.budget = c.between(2500*time.Millisecond, 4*time.Second)
	}
}

// hangs makes some work take longer than its budget.
func (w *World) hangs(k *work) {
	if w.plan.budget == 0 || !w.delays.in(0.06) {
		return
	}
	k.takes = w.plan.budget + w.delays.between(1500*time.Millisecond, 8*time.Second)
	k.beats = w.delays.in(0.5)
}

// beat has the handler show signs of life until its end.
func (t *task) beat(r *running) {
	n := t.node
	n.after(n.w.delays.between(time.Millisecond, n.w.plan.budget/2), func() {
		if t.current != r {
			return
		}
		if n.core.Beat(n.now(), t.session, r.call.Number) {
			n.w.truth.beat(r.work.id)
		} else if !t.moved(r) && !t.record.hung {
			n.w.fail("%s: work %d runs and may not beat", n.name, r.work.id)
		}
		t.beat(r)
	})
}

// examine looks for where a call hangs: sometimes it is found, in one part or
// two, sometimes too late, sometimes never.
func (n *nodePart) examine(h core.Hung) {
	w := n.w
	if h.Session == nil {
		n.examineAside(h.Errand)
		return
	}
	w.note("%-8s * call %d of session %s is accused", n.name, h.Number, h.Session.ID().String()[:8])
	tell := func(whole bool) func() {
		return func() {
			n.step(func(fx *core.Effects) {
				n.core.Examined(n.now(), h.Session, h.Number, core.Finding{Stack: "as told", Whole: whole}, fx)
			})
		}
	}
	if w.delays.in(0.5) {
		n.after(w.delays.skewed(0, time.Second), tell(false))
	}
	if w.delays.in(0.8) {
		n.after(w.delays.skewed(0, 2*time.Second), tell(true))
	}
}

// beat notes a sign of life of a call.
func (t *truth) beat(id uint64) {
	if c := t.call(id); c != nil {
		c.beat = t.w.now
	}
}

// gap is the longest that a watchdog may take for time that has passed although
// its process did not run.
const gap = 12 * tick

// condemned judges a node that says of a call that it hangs.
func (t *truth) condemned(k *task) {
	s := k.record
	s.hung = true
	if k.errand != nil {
		k.errand.run.hangs()
		return
	}
	if k.current == nil {
		t.w.fail("session %s is said to hang, and nothing runs in it", s.id)
		return
	}
	c := t.call(k.current.work.id)
	c.hung = true
	slack := 10*time.Millisecond + time.Duration(t.w.plan.stops+t.w.plan.jumps)*gap
	if silent := t.w.now - c.beat; silent < t.w.plan.budget-slack {
		t.w.fail("work %d is said to hang after %s without a sign of life, its budget is %s", c.id, silent, t.w.plan.budget)
	}
}

// foundTime is how long after the budget a hung call must have been found: it
// is examined, and ticks are coarse.
const foundTime = 800*time.Millisecond + 4*tick

// overlooked judges the end of a call that nobody found to hang.
func (t *truth) overlooked(c *callRecord) {
	p := &t.w.plan
	if p.budget == 0 || c.hung || p.stops+p.jumps > 0 {
		return
	}
	if silent := t.w.now - c.beat; silent > p.budget+foundTime {
		t.w.fail("work %d ends after %s without a sign of life, its budget is %s, and nobody has found it to hang", c.id, silent, p.budget)
	}
}

// hungEnd judges a caller who is told of a worker that hung.
func (t *truth) hungEnd(c *callRecord, err *session.Error) {
	switch s := t.session(c.session); {
	case err.Code != session.ErrWorkerHung:
	case c.session == session.ID{} && t.w.plan.lanes > 0: // it came along with the open, and waited for its lane
	case !s.hung && !s.strands:
		t.w.fail("work %d ends (%v), but nothing in its session hung", c.id, err)
	case s.node.died || s.node.left || t.w.plan.cuts(): // what nobody can say any more ends as the session did
	case err.Outcome != session.NotRun && !c.hung:
		t.w.fail("work %d ends (%v, %s), but it was another call that hung", c.id, err, err.Outcome)
	}
}
