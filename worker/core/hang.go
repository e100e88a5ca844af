package core

import (
	"cmp"
	"fmt"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// A call that is past its budget without progress goes two steps. First it is
// accused: whoever runs the sessions is asked where it hangs (Effects.Hung) and
// answers by Examined. With the whole answer, or after examineFor with what is
// known by then, it is condemned: its client is told, what waits is not run, the
// session ends, and its slot is quarantined until the handler has returned and
// Close has run. Progress or an end in between acquits it.

// examineFor is how long it is looked for where a call hangs before its client
// is told without.
const examineFor = 800 * time.Millisecond

// Hung is a call that has passed its budget: where does it hang?
type Hung struct {
	Session *Session // nil: Errand hangs on the side lane, and ExaminedErrand is the answer
	Errand  *Errand
	Number  uint64
	Silent  time.Duration
}

// Finding is where a call hangs, as far as that was found out.
type Finding struct {
	Thread int    // the OS thread that the session is locked to, 0: none
	Stack  string // of its goroutine, or why there is none
	Native string // of its thread inside C, or why there is none; empty where it is not in C
	Whole  bool   // nothing more will be found
}

// exam is the examination of one call, or errand, that hangs.
type exam struct {
	session *Session // nil: its errand hangs on the side lane
	errand  *Errand  // not nil: it hangs, and no call does
	number  uint64
	method  string
	trace   wire.Trace
	until   time.Time
	silent  time.Duration
	found   Finding
	over    bool // acquitted or condemned
}

// budgetOf is how long a call of m may run without progress, of which its caller asks
// for patience, where that is not 0; 0 or less: for ever.
func (m *method) budgetOf(patience time.Duration) time.Duration {
	if patience != 0 {
		return patience
	}
	return m.budget
}

// guard watches over the call that is handed to its goroutine now.
func (c *Core) guard(now time.Time, s *Session, call *Call) {
	if budget := call.of.budgetOf(call.Patience); budget > 0 {
		c.dog.Begin(now, &s.ward, s, budget)
	}
}

// exams are those that are on their way, the oldest first.
type exams []*exam

// due takes the next one off that has found all it will; nil: none has.
func (q *exams) due(now time.Time) *exam {
	all := *q
	if len(all) == 0 || !all[0].over && now.Before(all[0].until) {
		return nil
	}
	e := all[0]
	all[0] = nil
	*q = all[1:]
	return e
}

// acquitted ends an examination, if there is one, whose subject has ended or moved
// on. It returns what stands all the same: one that has come to its verdict.
func (e *exam) acquitted() *exam {
	if e == nil || e.over {
		return e
	}
	e.over = true
	return nil
}

// acquit ends the watch over the call that runs, which has ended or moved on.
func (s *Session) acquit() { s.exam = s.exam.acquitted() }

// watchCalls accuses calls whose budget is over, and condemns those of which
// nothing more was found in time.
func (c *Core) watchCalls(now time.Time, fx *Effects) {
	for _, s := range c.dog.Check(now) {
		c.accuse(now, s, fx)
	}
	for e := c.exams.due(now); e != nil; e = c.exams.due(now) {
		c.condemn(now, e, fx)
	}
}

func (c *Core) accuse(now time.Time, s *Session, fx *Effects) {
	e := &exam{session: s, number: s.callee.Running(), until: now.Add(examineFor), silent: c.dog.Silent(&s.ward)}
	if call, ok := s.callee.Held(e.number); ok {
		e.method, e.trace = string(call.Method()), call.Trace
	}
	if e.errand = s.errand; e.errand != nil {
		e.method, e.trace = e.errand.of.method, e.errand.of.trace
	}
	s.exam = e
	c.exams = append(c.exams, e)
	fx.Hung = append(fx.Hung, Hung{Session: s, Number: e.number, Silent: e.silent})
}

// Examined takes what was found out about a call that hangs. It may come in
// parts, and late: then brokers are told what more is known.
func (c *Core) Examined(now time.Time, s *Session, n uint64, f Finding, fx *Effects) {
	e := s.exam
	if e == nil || e.number != n {
		return
	}
	e.found = f
	switch {
	case s.quarantined:
		c.publish(s, fx)
	case f.Whole:
		c.condemn(now, e, fx)
	}
}

// condemn ends the session of a call that hangs.
func (c *Core) condemn(now time.Time, e *exam, fx *Effects) {
	if e.over {
		return
	}
	e.over = true
	s := e.session
	e.silent = c.dog.Silent(&s.ward)
	c.dog.Forget(&s.ward)
	text, stack := e.verdict(s.ward.Budget()), e.found.stacks()
	why := &session.Error{Code: session.ErrWorkerHung, Call: e.number, Text: text, Stack: stack, Remote: true}
	c.quarantined++
	s.quarantined = true

	if e.errand != nil {
		c.errandHung(e.errand, text, stack, fx)
	} else {
		c.callHung(s, e.number, text, stack, fx)
	}
	c.end(now, s, why.Code, text, fx)
	c.tell(s, fx)
	c.publish(s, fx)
	fx.Quarantine = append(fx.Quarantine, Stop{Session: s, Why: why})
	c.strand(now, s, e.number, fx)
}

// callHung settles the call that hangs.
func (c *Core) callHung(s *Session, n uint64, text, stack string, fx *Effects) {
	from, via := s.wayBack(n)
	r := session.Reply{Code: session.ErrWorkerHung, Outcome: session.Unknown, Body: wire.AppendFailure(nil, text, stack)}
	s.callee.Finish(n, &r)
	c.reply(s, from, via, n, &r, fx)
	fx.Cancel = append(fx.Cancel, Cancel{Session: s, Number: n, Why: session.ErrCancelled})
}

// verdict is one line of what is wrong, for the client.
func (e *exam) verdict(budget time.Duration) string {
	text := fmt.Sprintf("method %q has made no progress for %s, its budget is %s", e.method, e.silent.Round(time.Millisecond), budget)
	if e.found.Thread != 0 {
		text += fmt.Sprintf(", on OS thread %d", e.found.Thread)
	}
	if id := e.trace.ID(); id != "" {
		text += ", in trace " + id
	}
	return text
}

// stacks is what is known of where it hangs, Go's part first.
func (f *Finding) stacks() string {
	s := cmp.Or(f.Stack, "no stack: it was not found in time; limpet inspect may have it")
	if f.Native != "" {
		s = wire.Stack(s+"\n\nin C: ") + f.Native
	}
	return wire.Stack(s)
}

// publish tells every broker what is known of a quarantined session.
func (c *Core) publish(s *Session, fx *Effects) {
	for _, b := range c.inOrder {
		if b.registered {
			fx.Control(b.peer, s.autopsy())
		}
	}
}

// republish tells a broker that has just registered the node.
func (c *Core) republish(b *broker, fx *Effects) {
	if c.quarantined == 0 {
		return
	}
	for _, s := range c.Sessions() {
		if s.quarantined && s.exam != nil { // not only its lane
			fx.Control(b.peer, s.autopsy())
		}
	}
}

func (s *Session) autopsy() *wire.Autopsy {
	e := s.exam
	return &wire.Autopsy{
		Session: s.id, Pool: s.pool.Name, Worker: s.slot, Incarnation: s.incarnation, Call: e.number, Method: e.method,
		Budget: wire.Millis(s.ward.Budget()), Silent: wire.Millis(e.silent), Thread: e.found.Thread,
		Stack: wire.Stack(cmp.Or(e.found.Stack, "not found yet")), Native: wire.Stack(e.found.Native),
		Done:  "its client was told, the session has ended, and the slot is quarantined until the handler has returned",
		Trace: e.trace.Field(),
	}
}

// release notes that the slot of a session is given back.
func (c *Core) release(s *Session) {
	c.dog.Forget(&s.ward)
	s.acquit()
	if s.quarantined {
		c.quarantined--
	}
}

// Quarantined returns how many slots are held by handlers that hung.
func (c *Core) Quarantined() int { return c.quarantined }
