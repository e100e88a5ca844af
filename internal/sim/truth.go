package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// truth is what really happened, as nobody in the world can see it: it judges
// what the parts say.
type truth struct {
	w        *World
	calls    []*callRecord
	sessions map[session.ID]*sessionRecord
	nodes    map[session.NodeID]*nodeRecord
	opens    map[*opening]bool // not ended
	casts    []*casting

	kills                                   []kill
	done, notRun, unknown, opened, refusals int
}

// callRecord is one call, from its caller's wish to what was said of it.
type callRecord struct {
	id       uint64
	session  session.ID
	number   uint64 // in its session, once that was said
	runs     int
	hung     bool          // its node found it to hang
	beat     time.Duration // its last sign of life, the beginning among them
	finished bool
	counter  uint64 // of the session, after it ran
	steps    uint64 // of its progress
	ended    bool
	outcome  session.Outcome
	client   *clientPart
	flows    flows
}

// sessionRecord is one session on its slot.
type sessionRecord struct {
	id      session.ID
	node    *nodeRecord
	counter uint64 // runs
	seat    seat
	last    uint64 // the number that ran last
	ended   session.Code
	over    bool
	hung    bool          // a call of it hangs, or did
	strands bool          // or of another on its lane
	panics  bool          // a handler has panicked in it: nothing may run any more
	epoch   uint32        // of its latest holder
	at      time.Duration // when it was over
	client  *clientPart   // that opened it
	opened  time.Duration // when its Open had ended
	moves   uint32        // how often somebody wished to attach to it
}

type nodeRecord struct {
	id    session.NodeID
	name  string
	died  bool
	left  bool // it was drained and ended
	given map[grant]session.ID
	holds map[seat]session.ID // the latest of each slot
	born  time.Duration
	grave grave
}

// grant is one incarnation of one slot: it has one owner for ever.
type grant struct {
	seat
	incarnation uint64
}

func newTruth(w *World) *truth {
	return &truth{w: w, sessions: map[session.ID]*sessionRecord{}, nodes: map[session.NodeID]*nodeRecord{}, opens: map[*opening]bool{}}
}

func (t *truth) born(n *nodePart) {
	t.nodes[n.id] = &nodeRecord{id: n.id, name: n.name, given: map[grant]session.ID{}, holds: map[seat]session.ID{}, born: t.w.now}
}

func (t *truth) died(n *nodePart) {
	t.nodes[n.id].died = true
	t.killed(n)
}

func (t *truth) left(n *nodePart) { t.nodes[n.id].left = true }

// begun notes a session on its slot.
func (t *truth) begun(n *nodePart, s *core.Session) {
	g := grant{seat{s.Pool(), s.Worker()}, s.Incarnation()}
	node := t.nodes[n.id]
	if other, taken := node.given[g]; taken {
		t.w.fail("%s: slot %d of pool %s has two owners in incarnation %d: sessions %s and %s", n.name, g.slot, g.pool, g.incarnation, other, s.ID())
	}
	node.given[g], node.holds[g.seat] = s.ID(), s.ID()
	r := t.session(s.ID())
	r.node, r.seat = node, g.seat
	t.seated(s)
}

// lost notes that a broker has given a node up, by its start record or by its
// silence.
func (t *truth) lost(b *brokerPart, id session.NodeID, recorded bool) {
	n := t.nodes[id]
	if !t.w.plan.cuts() && !n.died && !n.left {
		t.w.fail("%s gives %s up, which lives and was never cut off", b.name, n.name)
	}
	if !recorded {
		t.silent(b, n)
	}
}

func (t *truth) session(id session.ID) *sessionRecord {
	s := t.sessions[id]
	if s == nil {
		s = &sessionRecord{id: id}
		t.sessions[id] = s
	}
	return s
}

func (t *truth) ended(id session.ID, code session.Code, text string) {
	s := t.session(id)
	s.over, s.ended, s.at = true, code, t.w.now
	t.returned(s, code, text)
	if code == session.ErrSessionExpired && strings.HasPrefix(text, session.ClockLease) && !t.w.plan.cuts() && t.kept(id) {
		t.w.fail("session %s ends because its lease is over, while its client lives and keeps it", id)
	}
}

// step judges a value of progress: the n-th that the caller hears of must be
// later than the one before, and of a call that runs or ran.
func (t *truth) step(k *calling, step uint64) {
	switch {
	case k.record.ended && !k.abandoned:
		t.w.fail("work %d makes progress after its end", k.record.id)
	case step <= k.step:
		t.w.fail("work %d makes step %d after step %d", k.record.id, step, k.step)
	case k.record.runs != 1 || step > k.record.steps:
		t.w.fail("work %d, which ran %d times and took %d steps, makes step %d", k.record.id, k.record.runs, k.record.steps, step)
	}
	k.step = step
}

// kept reports that some living client has a session and has not closed it.
func (t *truth) kept(id session.ID) bool {
	for _, c := range t.w.clients {
		for _, u := range c.users {
			if c.alive && u.session != nil && u.session.Route().Session == id && u.session.Ended() == nil {
				return true
			}
		}
	}
	return false
}

// routed notes that a client was told a route: it must be one that exists.
func (t *truth) routed(c *clientPart, r session.Route) {
	t.opened++
	s := t.sessions[r.Session]
	if s == nil || s.node == nil {
		t.w.fail("%s was given session %s, which no node has", c.name, r.Session)
		return
	}
	if s.node.id != r.Node || s.node.given[grant{seat{r.Pool, r.Worker}, r.Incarnation}] != r.Session {
		t.w.fail("%s was given a route to session %s that does not lead there: %+v", c.name, r.Session, r)
	}
}

func (t *truth) calling(by *clientPart, id session.ID) *callRecord {
	c := &callRecord{id: uint64(len(t.calls) + 1), client: by, session: id}
	t.calls = append(t.calls, c)
	t.w.tide(c)
	return c
}

func (t *truth) call(id uint64) *callRecord {
	if id == 0 || id > uint64(len(t.calls)) {
		return nil
	}
	return t.calls[id-1]
}

// started notes that a handler begins. It is the place where a second run, a
// run out of order, a run in another session and a run of what was said not to
// run are seen.
func (t *truth) started(k *task, work *work, number uint64) (counter uint64) {
	c, s := t.call(work.id), k.record
	if c == nil {
		t.w.fail("%s runs a call that nobody made: %+v", k.node.name, work)
		return 0
	}
	c.runs++
	c.number = number
	s.counter++
	c.counter = s.counter
	c.beat = t.w.now
	switch {
	case c.runs > 1:
		t.w.fail("work %d runs a second time, as call %d of session %s", c.id, number, s.id)
	case c.session == uuid.Nil: // it came along with the open
		c.session = s.id
	case c.session != s.id:
		t.w.fail("work %d was meant for session %s and runs in session %s", c.id, c.session, s.id)
	case s.hung:
		t.w.fail("session %s runs call %d after a call of it hung", s.id, number)
	case s.panics:
		t.w.fail("session %s runs call %d after a handler panicked", s.id, number)
	case number <= s.last:
		t.w.fail("session %s runs call %d after call %d", s.id, number, s.last)
	case c.ended && c.outcome == session.NotRun:
		t.w.fail("work %d runs after its caller was told that it did not", c.id)
	}
	s.last = number
	return s.counter
}

func (t *truth) finished(id uint64) {
	if c := t.call(id); c != nil {
		t.overlooked(c)
		c.finished = true
	}
}

// replied judges a reply.
func (t *truth) replied(k *calling, body []byte) {
	c := k.record
	t.done++
	t.end(c, session.Done)
	id, counter, ok := parseReply(body)
	switch {
	case !ok || id != c.id:
		t.w.fail("work %d got the reply of work %d", c.id, id)
	case c.runs != 1 || !c.finished:
		t.w.fail("work %d is done, but ran %d times (finished: %v)", c.id, c.runs, c.finished)
	case counter != c.counter:
		t.w.fail("work %d got the counter %d, it was %d", c.id, counter, c.counter)
	}
}

func (t *truth) end(c *callRecord, o session.Outcome) {
	if c.ended {
		t.w.fail("work %d ends twice: %s, then %s", c.id, c.outcome, o)
	}
	c.ended, c.outcome = true, o
}

// callFailed judges the end of a call that brought no reply.
func (t *truth) callFailed(k *calling, err *session.Error) {
	c := k.record
	t.w.note("%-8s . work %d ends: %v (%s)", k.user.client.name, c.id, err, err.Outcome)
	t.end(c, err.Outcome)
	t.hungEnd(c, err)
	if c.number == 0 {
		c.number = err.Call
	}
	switch err.Outcome {
	case session.Done:
		t.done++
		if c.runs != 1 {
			t.w.fail("work %d ends as done (%v), but ran %d times", c.id, err, c.runs)
		}
	case session.NotRun:
		t.notRun++
		if c.runs != 0 {
			t.w.fail("work %d ends as not run (%v), but ran", c.id, err)
		}
	case session.Unknown:
		t.unknown++
		t.excuse(k, err)
	}
	if t.w.plan.calm() && k.opening == nil {
		t.calmEnd(k, err)
	}
}

// excuse demands a reason for an unknown outcome.
func (t *truth) excuse(k *calling, err *session.Error) {
	if k.abandoned {
		return
	}
	s := t.session(k.record.session)
	switch {
	case t.shown(s, k.record, err):
		t.w.fail("work %d ends as unknown (%v), but every broker had the start record of its node, which shows that it was not started", k.record.id, err)
	case k.opening != nil && (k.opening.given || t.otherTrouble()):
	case k.opening != nil && t.w.plan.brokerCrashes > 0 && k.record.runs == 0: // no node knows it
	case k.opening != nil && t.w.plan.brokerCrashes > 0 && err.Code == session.ErrNoWorker: // none answered until its wait was over
	case s.node != nil && s.node.died:
	case s.over && (s.ended == session.ErrSessionExpired || s.ended == session.ErrSessionDrained):
	case err.Code == session.ErrSessionMoved && t.w.plan.attaches:
	case err.Code == session.ErrWorkerHung && k.record.hung:
	case s.node != nil && s.node.left: // it ended, and with it what it remembered of sessions that ended before
	case t.w.plan.cuts() && s.node != nil && t.cutOff(s.node.id):
	default:
		t.w.fail("work %d ends as unknown (%v) without a reason: its node lives and was never given up, its session was not ended by a clock", k.record.id, err)
	}
}

// anyTrouble reports that the broker that a first call was carried to may not
// be the one that was asked about it, or that its node is gone.
func (t *truth) anyTrouble() bool { return t.otherTrouble() || t.w.plan.brokerCrashes > 0 }

// otherTrouble reports that nodes may be gone, or be thought so.
func (t *truth) otherTrouble() bool {
	p := &t.w.plan
	return p.cuts() || p.nodeCrashes+p.drains > 0
}

// cutOff reports that some broker could not know a node although it lives.
func (t *truth) cutOff(n session.NodeID) bool {
	for _, b := range t.w.brokers {
		if !b.knew(n) {
			return true
		}
	}
	return false
}

// calmEnd: in a calm world nothing fails that nobody asked to fail.
func (t *truth) calmEnd(k *calling, err *session.Error) {
	p := &t.w.plan
	switch err.Code {
	case session.ErrMethod, session.ErrWorkerPanic, session.ErrWorkerHung:
	case session.ErrDeadline, session.ErrCancelled:
		if !p.deadlines && !p.cancels && k.session.Ended() == nil { // its own user may have closed early
			t.w.fail("work %d ends in a calm world: %v", k.record.id, err)
		}
	case session.ErrSessionExpired:
		if p.idle == 0 && p.maxAge == 0 {
			t.w.fail("work %d ends in a calm world: %v", k.record.id, err)
		}
	case session.ErrSessionClosed: // its own user closed early
	case session.ErrReplyGone: // it was done, and then its caller read nothing for long, or left
		if s := t.session(k.record.session); p.maxAge > 0 && s.over && s.ended == session.ErrSessionExpired {
			break // or its session was over before all of it had gone
		}
		if f := k.record.flows; f.reply < 0 || !f.slow && !p.deadlines && !p.cancels && !p.attaches && k.session.Ended() == nil {
			t.w.fail("work %d ends in a calm world: %v", k.record.id, err)
		}
	case session.ErrSessionMoved:
		if !p.attaches {
			t.w.fail("work %d ends in a calm world: %v", k.record.id, err)
		}
	default:
		t.w.fail("work %d ends in a calm world: %v", k.record.id, err)
	}
}

func (t *truth) opening(o *opening) { t.opens[o] = true }

func (t *truth) openEnded(o *opening) { delete(t.opens, o) }

// refused judges an open that got no session.
func (t *truth) refused(o *opening, err *session.Error) {
	t.refusals++
	p := &t.w.plan
	ok := p.cuts() // its session may have come and gone before its client heard of it
	switch err.Code {
	case session.ErrOpenFailed:
		ok = p.openFails
	case session.ErrNoWorker: // its wait was over
		ok = true
	case session.ErrSessionExpired, session.ErrWithdrawn: // it was opened, and over before its client heard of it
		ok = ok || p.maxAge > 0 || p.idle > 0
	case session.ErrWorkerHung:
		ok = ok || p.budget > 0
	case session.ErrWorkerPanic: // somebody's broadcast had it panic before its client heard of it
		ok = ok || p.casts && p.panics && p.loses()
	case session.ErrWorkerLost: // one that carried a call is not made twice
		ok = ok || p.nodeCrashes > 0 || o.first != nil && t.anyTrouble()
	case session.ErrPoolUnknown, session.ErrDraining, session.ErrSessionDrained:
		ok = ok || p.nodeCrashes+p.drains > 0
	}
	if !ok {
		t.w.fail("an open that was not given up ends without a reason: %v", err)
	}
}

// past reports that a session is over for so long that its holder must have
// heard of it.
func (t *truth) past(id session.ID) bool {
	s := t.session(id)
	return s.node.died || s.node.left || s.over && t.w.now-s.at > t.w.plan.lease
}

// abandonedBy notes that a client died: nobody waits for its opens and calls.
func (t *truth) abandonedBy(c *clientPart) {
	for _, u := range c.users {
		if u.opening != nil {
			delete(t.opens, u.opening)
		}
	}
	for o := range t.opens {
		if o.user.client == c {
			delete(t.opens, o)
		}
	}
}

// bad notes that a part was sent something that it found malformed or not
// allowed. Nobody here sends such things, but a broker that was restarted, or
// lost a connection, does not know from whom it hears.
func (t *truth) bad(who string, code session.Code, text string) {
	if t.w.plan.calm() {
		t.w.fail("%s was sent something bad: %s: %s", who, code, text)
	}
}

// rest names the first call that has not ended although its caller lives.
func (t *truth) rest() string {
	for _, c := range t.calls {
		if !c.ended && c.client.alive {
			return fmt.Sprintf("work %d has not ended", c.id)
		}
	}
	return t.castsRest()
}
