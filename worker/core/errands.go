package core

import (
	"cmp"
	"errors"
	"fmt"
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

// casting is a broadcast as a node knows it.
type casting struct {
	key      session.OpenKey
	pool     *pool
	method   string
	args     []byte
	raw      bool
	patience time.Duration
	deadline time.Time     // zero: none
	wait     time.Duration // for a busy session; 0: for as long as it takes, below 0: not at all
	from     wire.Peer     // the broker that asked last
	errands  map[session.ID]*Errand
	open     int
	begun    time.Time
	touched  time.Time
	size     int
	dead     bool // nobody waits for it
}

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
	exam   *errandExam

	fate  session.Fate
	reply session.Reply
}

// errandExam is the examination of one that hangs on the side lane.
type errandExam struct {
	errand *Errand
	until  time.Time
	found  Finding
	over   bool
}

// Call is what the errand's handler gets; it has no number.
func (e *Errand) Call() Call {
	k := e.of
	return Call{Method: []byte(k.method), Args: k.args, Raw: k.raw, Deadline: k.deadline, Patience: k.patience}
}

// Pool is the name of its pool.
func (e *Errand) Pool() string { return e.of.pool.Name }

// Place is where it runs on the side lane, from 0.
func (e *Errand) Place() int { return e.place }

// castings remembers the broadcasts of the last minute.
type castings struct {
	all      map[session.OpenKey]*casting
	bytes    int
	open     int       // errands that are not over
	horizon  time.Time // what was sent before may be forgotten
	looked   time.Time
	places   [asideMost]*Errand
	waiting  []*Errand // for a place
	patient  []*Errand // they wait no longer than until, or a deadline
	exams    []*errandExam
	watchdog *heartbeat.Watchdog[*Errand]
}

func newCastings(tick time.Duration) castings {
	return castings{all: map[session.OpenKey]*casting{}, watchdog: heartbeat.NewWatchdog[*Errand](tick)}
}

// cast takes a broker's question, or a copy of it.
func (c *Core) cast(now time.Time, b *broker, m *wire.Cast, fx *Effects) {
	k := c.castings.all[session.OpenKey{Client: m.Client, Request: m.Request}]
	if m.Over {
		c.castOver(now, k, m, fx)
		return
	}
	again := k != nil
	if k == nil {
		var fate session.Fate
		var code session.Code
		var text string
		if k, fate, code, text = c.begins(now, m); k == nil {
			c.refuseCast(b, m, fate, code, text, fx)
			return
		}
	}
	k.from, k.touched = b.peer, now
	var over []*Errand
	for _, id := range targets(m) {
		e := k.errands[id]
		if e == nil {
			e = c.errand(now, k, id, fx)
		}
		if e.state == errandOver {
			over = append(over, e)
		}
	}
	if again && len(over) == 0 {
		fx.Control(b.peer, &wire.Answer{Client: m.Client, Request: m.Request})
	}
	c.tellErrands(over, fx)
}

// targets are the sessions that a message is for, or the side lane.
func targets(m *wire.Cast) []session.ID {
	if len(m.Sessions) == 0 {
		return []session.ID{{}}
	}
	return m.Sessions
}

// begins makes the record of a broadcast that is new here, or says why not.
func (c *Core) begins(now time.Time, m *wire.Cast) (*casting, session.Fate, session.Code, string) {
	sent := now.Add(-time.Duration(m.Since)*time.Millisecond - castingLate)
	p := c.pools[m.Pool]
	switch {
	case m.Again || sent.Before(c.castings.horizon):
		return nil, session.FateFailed, session.ErrReplyGone, "this node may have run it, and does not remember"
	case m.Method == "":
		return nil, session.FateFailed, session.ErrBadMessage, "no method named"
	case p == nil:
		return nil, session.FateFailed, session.ErrPoolUnknown, "not served here"
	case c.draining:
		return nil, session.FateLeft, session.ErrDraining, "the node is draining"
	case !c.roomFor(now, len(m.Args)):
		return nil, session.FateFailed, session.ErrOverloaded, "the node remembers as many broadcasts as it may"
	}
	k := &casting{
		key: session.OpenKey{Client: m.Client, Request: m.Request}, pool: p, method: m.Method, args: m.Args, raw: m.Raw,
		patience: wire.PatienceOf(m.Patience), wait: wire.PatienceOf(m.Wait), errands: map[session.ID]*Errand{}, begun: now, size: len(m.Args),
	}
	if m.Budget > 0 {
		k.deadline = now.Add(time.Duration(m.Budget) * time.Millisecond)
	}
	c.castings.all[k.key] = k
	c.castings.bytes += k.size
	return k, 0, 0, ""
}

// roomFor makes room for another broadcast, by forgetting the oldest that are
// over, of those of which no first copy can come any more.
func (c *Core) roomFor(now time.Time, size int) bool {
	s := &c.castings
	for len(s.all) >= castingsMost || s.bytes+size > castingsBytes {
		var oldest *casting
		for _, k := range s.all {
			if k.open == 0 && now.Sub(k.begun) > castingLate && (oldest == nil || k.before(oldest)) {
				oldest = k
			}
		}
		if oldest == nil {
			return false
		}
		s.forget(oldest)
	}
	return true
}

// before is a fixed order: by age, then by name.
func (k *casting) before(o *casting) bool {
	return cmp.Or(k.begun.Compare(o.begun), slices.Compare(k.key.Client[:], o.key.Client[:]), slices.Compare(k.key.Request[:], o.key.Request[:])) < 0
}

func (s *castings) forget(k *casting) {
	if k.begun.After(s.horizon) {
		s.horizon = k.begun
	}
	s.bytes -= k.size
	delete(s.all, k.key)
}

// refuseCast answers for what is not taken.
func (c *Core) refuseCast(b *broker, m *wire.Cast, fate session.Fate, code session.Code, text string, fx *Effects) {
	a := wire.Answer{Client: m.Client, Request: m.Request}
	body := wire.AppendFailure(nil, text, "")
	for _, id := range targets(m) {
		a.Members = append(a.Members, wire.Member{Node: c.cfg.Node, Session: id, Fate: fate, Code: code, Body: body})
	}
	fx.Control(b.peer, &a)
}

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
	return k.pool.budgetOf(&Call{Method: []byte(k.method), Patience: k.patience})
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
	fx.Run = append(fx.Run, Run{Session: s, Call: call, Errand: e})
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

// tellErrands answers the broker that asked last.
func (c *Core) tellErrands(over []*Errand, fx *Effects) {
	for len(over) > 0 {
		k := over[0].of
		a := wire.Answer{Client: k.key.Client, Request: k.key.Request}
		size, n := 0, 0
		for ; n < len(over) && n < wire.MaxList && (n == 0 || size+len(over[n].reply.Body) <= answerSize); n++ {
			e := over[n]
			size += len(e.reply.Body)
			a.Members = append(a.Members, wire.Member{Node: c.cfg.Node, Session: e.id, Fate: e.fate, Code: e.reply.Code, Raw: e.reply.Raw, Body: e.reply.Body})
		}
		over = over[n:]
		if c.brokers[k.from] != nil {
			fx.Control(k.from, &a)
		}
	}
}

// castOver gives up a broadcast that nobody waits for: what waits does not
// start, what runs is cancelled. One that this node has not heard of is over
// before it comes.
func (c *Core) castOver(now time.Time, k *casting, m *wire.Cast, fx *Effects) {
	if k == nil {
		if p := c.pools[m.Pool]; p != nil && c.roomFor(now, 0) {
			k = &casting{key: session.OpenKey{Client: m.Client, Request: m.Request}, pool: p, errands: map[session.ID]*Errand{}, begun: now, touched: now, dead: true}
			c.castings.all[k.key] = k
		}
		return
	}
	k.touched, k.dead = now, true
	for _, e := range k.inOrder() {
		c.recall(e, session.FateFailed, session.ErrCancelled, "nobody waits for it any more", fx)
	}
}

func (k *casting) inOrder() []*Errand {
	list := make([]*Errand, 0, len(k.errands))
	for _, e := range k.errands {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *Errand) int { return slices.Compare(a.id[:], b.id[:]) })
	return list
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

func (e *Errand) acquit() {
	if e.exam != nil {
		e.exam.over = true
		e.exam = nil
	}
}

// watchErrands settles those whose wait is over, examines those that hang, and
// forgets what is long over.
func (c *Core) watchErrands(now time.Time, fx *Effects) {
	k := &c.castings
	k.patient = slices.DeleteFunc(k.patient, func(e *Errand) bool { return c.waitedEnough(now, e, fx) })
	for _, e := range k.watchdog.Check(now) {
		e.exam = &errandExam{errand: e, until: now.Add(examineFor)}
		k.exams = append(k.exams, e.exam)
		fx.Hung = append(fx.Hung, Hung{Errand: e, Silent: k.watchdog.Silent(&e.ward)})
	}
	for len(k.exams) > 0 && (k.exams[0].over || !now.Before(k.exams[0].until)) {
		x := k.exams[0]
		k.exams = k.exams[1:]
		c.condemnErrand(x, fx)
	}
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
func (c *Core) condemnErrand(x *errandExam, fx *Effects) {
	e := x.errand
	if x.over || e.state != errandRunning {
		return
	}
	x.over, e.exam = true, nil
	silent := c.castings.watchdog.Silent(&e.ward)
	c.castings.watchdog.Forget(&e.ward)
	text := fmt.Sprintf("method %q has made no progress for %s, its budget is %s", e.of.method, silent.Round(time.Millisecond), e.budget)
	c.settleErrand(e, session.FateHung, session.ErrWorkerHung, text, x.found.stacks())
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

// errandHung settles the errand that hangs in a session, which ends with it.
func (c *Core) errandHung(e *Errand, text, stack string, fx *Effects) {
	c.settleErrand(e, session.FateHung, session.ErrWorkerHung, text, stack)
	c.tellErrands([]*Errand{e}, fx)
	fx.Cancel = append(fx.Cancel, Cancel{Session: e.session, Errand: e, Why: session.ErrCancelled})
}

// Errands returns how many errands are not over; those that hang are.
func (c *Core) Errands() int { return c.castings.open }

func (c *Core) auditErrands() error {
	open, bytes, running := 0, 0, 0
	for key, k := range c.castings.all {
		n, size := 0, len(k.args)
		for _, e := range k.errands {
			if e.state != errandOver {
				n++
			}
			size += len(e.reply.Body)
			if e.state == errandRunning && (e.session == nil) != (e.place >= 0 && c.castings.places[e.place] == e) {
				return fmt.Errorf("broadcast %s: an errand runs in no session and has no place", key.Request)
			}
			if e.session != nil && e.state == errandRunning {
				running++
				if e.session.errand != e {
					return fmt.Errorf("broadcast %s: session %s runs an errand and does not know it", key.Request, e.id)
				}
			}
		}
		if k.key != key || n != k.open || size != k.size {
			return fmt.Errorf("broadcast %s counts %d open errands and %d bytes, there are %d and %d", key.Request, k.open, k.size, n, size)
		}
		open, bytes = open+n, bytes+size
	}
	if open != c.castings.open || bytes != c.castings.bytes || len(c.castings.all) > castingsMost {
		return errors.New("broadcasts' errands and bytes are miscounted")
	}
	return nil
}
