package sim

import (
	"bytes"
	"fmt"
	"time"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	worker "github.com/limpet-rpc/limpet/worker/core"
)

// In some worlds clients broadcast, to the nodes of a pool or to its sessions.
// What concerns that draws from a stream of its own.

// casting is one broadcast, as its client waits for it and as it really went.
type casting struct {
	id       uint64
	client   *clientPart
	core     *core.Cast
	sessions bool
	busyAt   bool // a busy session is waited for only so long, or not at all
	limited  bool // it has a deadline
	stopped  bool
	begun    time.Duration
	ended    bool
	complete bool
	fates    map[session.MemberID]session.Fate
	runs     map[session.MemberID]*errandRun
}

// errandRun is the run of one member.
type errandRun struct {
	of       *casting
	node     *nodePart
	member   session.MemberID
	times    int
	finished bool
	hung     bool
	beat     time.Duration // its last sign of life, the beginning among them
	code     session.Code  // that its handler ended with
}

// broadcast begins one, and another one some time later.
func (c *clientPart) broadcast() {
	w := c.w
	if w.now > w.plan.work {
		return
	}
	k := &casting{
		id: uint64(len(w.truth.casts) + 1), client: c, begun: w.now, sessions: w.casts.in(0.5),
		fates: map[session.MemberID]session.Fate{}, runs: map[session.MemberID]*errandRun{},
	}
	w.truth.casts = append(w.truth.casts, k)
	q := core.Question{Pool: w.pools()[w.casts.IntN(w.plan.pools)], Method: "work", Args: w.errand(k.id).append(nil), Raw: true, Sessions: k.sessions}
	if k.busyAt = w.casts.in(0.5); k.busyAt {
		q.Wait = w.casts.between(-time.Millisecond, time.Second).Truncate(time.Millisecond)
		k.busyAt = q.Wait != 0
	}
	if k.limited = w.casts.in(0.3); k.limited {
		d := w.casts.skewed(10*time.Millisecond, 5*time.Second)
		q.Deadline = c.now().Add(d)
		c.after(d+cancelWait, func() { k.stop(session.ErrDeadline) })
	}
	w.note("%-8s . broadcasts %d in %s, sessions %v, deadline %v, wait %s", c.name, k.id, q.Pool, k.sessions, k.limited, q.Wait)
	c.step(func(fx *core.Effects) {
		cast, refused := c.core.Broadcast(c.now(), q, k, fx)
		if refused != nil {
			w.fail("%s: a broadcast is refused before it is sent: %v", c.name, refused)
		}
		k.core = cast
	})
	if w.casts.in(0.15) {
		c.after(w.casts.skewed(0, 3*time.Second), func() { k.stop(session.ErrCancelled) })
	}
	c.after(w.casts.skewed(100*time.Millisecond, 5*time.Second), c.broadcast)
}

// errand chooses what a broadcast's method has to do.
func (w *World) errand(id uint64) *work {
	k := &work{id: id, takes: w.casts.skewed(0, 30*time.Millisecond), obeys: w.casts.in(0.7)}
	switch {
	case w.plan.budget > 0 && w.casts.in(0.1):
		k.takes, k.beats = w.plan.budget+w.casts.between(1500*time.Millisecond, 6*time.Second), w.casts.in(0.5)
	case w.casts.in(0.2):
		k.takes = w.casts.between(100*time.Millisecond, 3*time.Second)
	case w.plan.panics && w.casts.in(0.05):
		k.how = howPanic
	case w.casts.in(0.1):
		k.how = howError
	}
	return k
}

func (k *casting) stop(why session.Code) {
	if k.ended {
		return
	}
	k.stopped = k.stopped || why == session.ErrCancelled
	k.client.w.note("%-8s . gives broadcast %d up: %s", k.client.name, k.id, why)
	k.client.step(func(fx *core.Effects) { k.client.core.StopCast(k.core, why, fx) })
}

// take takes one answer, and reads it then or later.
func (k *casting) take(a *core.Answer) {
	c, m := k.client, &a.Member
	id := session.MemberID{Node: m.Node, Session: m.Session}
	old, twice := k.fates[id]
	switch {
	case k.ended:
		c.w.fail("broadcast %d has ended and is told of member %s/%s: %s", k.id, m.Node, m.Session, m.Fate)
	case twice:
		c.w.fail("member %s/%s of broadcast %d is told twice: %s, then %s", m.Node, m.Session, k.id, old, m.Fate)
	}
	k.fates[id] = m.Fate
	if why := k.wrong(id, m); why != "" {
		c.w.fail("member %s/%s of broadcast %d is said to be %s (%s, %q): %s", m.Node, m.Session, k.id, m.Fate, m.Code, wire.ParseFailure(m.Body).Text, why)
	}
	number, size := a.Number, len(m.Body)
	c.after(c.w.casts.skewed(0, 100*time.Millisecond), func() {
		c.step(func(fx *core.Effects) { c.core.Read(k.core, number, size, fx) })
	})
}

// castReply is what a member's handler returns.
func castReply(id uint64, n session.NodeID) []byte {
	return appendReply(make([]byte, 0, 16), id, uint64(n))
}

// wrong says what of a fate is not true, by all that can be known.
func (k *casting) wrong(id session.MemberID, m *wire.Member) string {
	w, p := k.client.w, &k.client.w.plan
	r, n := k.runs[id], w.truth.nodes[id.Node]
	if r == nil {
		r = &errandRun{}
	}
	if n == nil || k.sessions == (id.Session == session.ID{}) {
		return "there is no such member"
	}
	ok := false
	switch m.Fate {
	case session.FateAnswered:
		ok = r.times == 1 && r.finished && r.code == 0 && bytes.Equal(m.Body, castReply(k.id, id.Node))
	case session.FateFailed:
		ok = k.mayFail(r, m.Code)
	case session.FateDied:
		ok = n.died || n.left || p.cuts() || p.loses()
	case session.FateHung:
		// A late copy makes a connection look as if it stood, and a Register that comes
		// after its node's good-bye brings the node back until its beats are missed.
		ok = r.hung || p.cuts() || n.died && (p.double > 0 || p.loses()) || n.left && p.reorder
	case session.FateLeft:
		ok = n.left || p.drains > 0 || k.sessions && w.truth.sessions[id.Session] != nil
	case session.FateDeadline:
		ok = k.limited
	case session.FateBusy:
		ok = k.busyAt && k.sessions && r.times == 0
	case session.FateOpen:
	}
	if ok {
		return ""
	}
	return fmt.Sprintf("it ran %d times, finished %v with %s, hung %v", r.times, r.finished, r.code, r.hung)
}

// mayFail reports that a member may have failed so: by itself, or because
// nobody waited for it.
func (k *casting) mayFail(r *errandRun, code session.Code) bool {
	if code == session.ErrCancelled {
		return k.stopped || k.client.w.plan.cuts()
	}
	return (code == session.ErrMethod || code == session.ErrWorkerPanic) && r.times == 1 && r.code == code
}

// settle takes the end of a broadcast: everybody is told of, and nobody else
// has run it.
func (k *casting) settle(r *core.Result) {
	c, p := k.client, &k.client.w.plan
	if k.ended {
		c.w.fail("broadcast %d ends twice", k.id)
	}
	k.ended = true
	if r.Err != nil {
		c.w.note("%-8s . broadcast %d ends: %v", c.name, k.id, r.Err)
		if !k.stopped && (!k.limited || r.Err.Code != session.ErrDeadline) {
			c.w.fail("broadcast %d ends without a reason: %v", k.id, r.Err)
		}
		return
	}
	k.complete = true
	members, known := k.core.Members()
	c.w.note("%-8s . broadcast %d is complete, %d members", c.name, k.id, members)
	if !known || members != len(k.fates) {
		c.w.fail("broadcast %d is complete with %d members, known %v, and was told of %d", k.id, members, known, len(k.fates))
	}
	if p.calm() && !k.sessions && k.begun > recovery+time.Second && members != p.nodes {
		c.w.fail("broadcast %d went to %d of %d nodes", k.id, members, p.nodes)
	}
	for id, run := range k.runs {
		if _, told := k.fates[id]; run.times > 0 && !told && !p.loses() && !p.cuts() {
			c.w.fail("member %s/%s ran broadcast %d, of whose members it is none", id.Node, id.Session, k.id)
		}
	}
}

// casted notes that a member runs a broadcast's method.
func (t *truth) casted(n *nodePart, k *work, member session.MemberID) *errandRun {
	if k.id == 0 || k.id > uint64(len(t.casts)) {
		t.w.fail("%s runs a broadcast that nobody has made", n.name)
		return &errandRun{of: &casting{}, node: n}
	}
	of := t.casts[k.id-1]
	r := of.runs[member]
	if r == nil {
		r = &errandRun{of: of, node: n, member: member}
		of.runs[member] = r
	}
	r.times++
	r.beat = t.w.now
	switch {
	case r.times > 1:
		t.w.fail("%s runs broadcast %d a second time, session %s", n.name, k.id, member.Session)
	case of.fates[member] == session.FateBusy:
		t.w.fail("%s runs broadcast %d in session %s, which was said to be busy", n.name, k.id, member.Session)
	}
	return r
}

// ends notes the end of a member's handler.
func (r *errandRun) ends(code session.Code) {
	w := r.node.w
	p := &w.plan
	r.finished, r.code = true, code
	if silent := w.now - r.beat; p.budget > 0 && !r.hung && p.stops+p.jumps == 0 && silent > p.budget+foundTime {
		w.fail("broadcast %d runs on %s for %s without a sign of life, its budget is %s, and nobody has found it to hang", r.of.id, r.node.name, silent, p.budget)
	}
}

// hangs judges that it is said to hang.
func (r *errandRun) hangs() {
	if r.hung {
		return
	}
	r.hung = true
	p := &r.node.w.plan
	slack := 10*time.Millisecond + time.Duration(p.stops+p.jumps)*gap
	if silent := r.node.w.now - r.beat; silent < p.budget-slack {
		r.node.w.fail("broadcast %d on %s is said to hang after %s without a sign of life, its budget is %s", r.of.id, r.node.name, silent, p.budget)
	}
}

// errand is the handler of one member, on the side lane or in a session.
type errand struct {
	node  *nodePart
	core  *worker.Errand
	work  work
	run   *errandRun
	ended bool
	done  func(session.Reply)
}

// newErrand begins one; done is told its end.
func newErrand(n *nodePart, e *worker.Errand, in session.ID, done func(session.Reply)) *errand {
	call := e.Call()
	a := &errand{node: n, core: e, work: parseWork(call.Args), done: done}
	a.run = n.w.truth.casted(n, &a.work, session.MemberID{Node: n.id, Session: in})
	n.w.note("%-8s   runs broadcast %d, session %s", n.name, a.work.id, in)
	n.after(a.work.takes, func() { a.end(a.work.fails()) })
	if a.work.beats && n.w.plan.budget > 0 {
		a.beat()
	}
	if !call.Deadline.IsZero() && a.work.obeys {
		n.after(call.Deadline.Sub(n.now()), func() { a.end(session.ErrDeadline) })
	}
	return a
}

func (a *errand) beat() {
	n := a.node
	n.after(n.w.casts.between(time.Millisecond, n.w.plan.budget/2), func() {
		if a.ended {
			return
		}
		if n.core.ErrandBeat(n.now(), a.core) {
			a.run.beat = n.w.now
		} else if !a.run.hung {
			n.w.fail("%s: broadcast %d runs and may not beat", n.name, a.work.id)
		}
		a.beat()
	})
}

func (a *errand) cancel() {
	if a.work.obeys {
		a.node.after(a.node.w.casts.skewed(0, 20*time.Millisecond), func() { a.end(session.ErrCancelled) })
	}
}

func (a *errand) end(code session.Code) {
	if a.ended {
		return
	}
	a.ended = true
	a.run.ends(code)
	reply := session.Reply{Raw: true, Body: castReply(a.work.id, a.node.id)}
	if code != 0 {
		reply = session.Reply{Code: code, Outcome: session.Done, Body: wire.AppendFailure(nil, "as told", "")}
	}
	a.done(reply)
}

// aside runs an errand on the side lane.
func (n *nodePart) aside(e *worker.Errand) {
	e.Task = newErrand(n, e, session.ID{}, func(r session.Reply) {
		n.step(func(fx *worker.Effects) { n.core.ErrandDone(n.now(), e, r, fx) })
	})
}

// examineAside looks for where an errand hangs.
func (n *nodePart) examineAside(e *worker.Errand) {
	if w := n.w; w.delays.in(0.7) {
		n.after(w.delays.skewed(0, 2*time.Second), func() {
			n.step(func(fx *worker.Effects) { n.core.ExaminedErrand(e, worker.Finding{Stack: "as told", Whole: true}, fx) })
		})
	}
}

// judgeAnswer has the truth judge what a node says hangs.
func (n *nodePart) judgeAnswer(m *wire.Answer) {
	for i := range m.Members {
		if m.Members[i].Fate != session.FateHung {
			continue
		}
		id := session.MemberID{Node: n.id, Session: m.Members[i].Session}
		for _, k := range n.w.truth.casts {
			if k.core != nil && k.core.Request() == m.Request && k.runs[id] != nil {
				k.runs[id].hangs()
			}
		}
	}
}

// castTally counts the broadcasts that were complete, and their members' fates.
func (t *truth) castTally() (complete int, fates [session.FateLast + 1]int) {
	for _, k := range t.casts {
		if k.complete {
			complete++
		}
		for _, f := range k.fates {
			fates[f]++
		}
	}
	return complete, fates
}

// castsRest names the first broadcast that has not ended although its client
// lives.
func (t *truth) castsRest() string {
	for _, k := range t.casts {
		if !k.ended && k.client.alive {
			return fmt.Sprintf("broadcast %d has not ended: %d members settled", k.id, len(k.fates))
		}
	}
	return ""
}
