package core

import (
	"container/heap"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core/sizing"
)

type state uint8

const (
	stateStarting state = iota // Open runs
	stateOpen
	stateClosing // the last call, or Close, runs
)

// Session is one session on its slot. What a call touches stands together, for with
// many sessions it has to come from afar: from the beginning to tenancy.open.
type Session struct {
	// Task is whatever runs the session's goroutine; the core never looks at it.
	Task any

	client      *client
	lane        *lane // nil in a pool without lanes
	state       state
	reported    bool                     // some broker may know of it
	quarantined bool                     // it was found to hang; the slot is lost until its handler returns
	queued      bool                     // it waits for its turn on its lane
	yields      bool                     // the last turn was an errand's: the next is a call's, if there is one
	closed      bool                     // and a call of it has ended of which nothing has been told yet
	orphan      *orphan                  // the call that ran for the holder before, nil before there was one
	flows       map[uint64]*flow         // by call, of what travels as chunks; nil while nothing does
	ward        heartbeat.Ward[*Session] // over the call that runs
	exam        *exam                    // of the call that hangs, nil while none does
	errands     []*Errand                // of broadcasts, that wait for their turn between two calls
	errand      *Errand                  // that runs
	callee      session.Callee[*Call]
	from        wire.Peer // the holder's last way back
	via         wire.Peer
	clocks      session.Clocks

	tenancy

	first    *Call     // the call that came along with the open
	attached [4]uint64 // the nonces of the last attaches, the latest first
	moves    []uint64  // for the latest holders before this one: the first number of theirs that had not started
	why      *session.Error

	due   time.Time // in Core.due, at place; -1 while not in it
	place int

	ahead, behind *Session // on its lane

	try uint32 // of the offer that it was taken by
}

// orphan is a call that ran for the holder before when another attached.
type orphan struct {
	number    uint64
	from, via wire.Peer // the way back of its latest copy
	epoch     uint32    // of that holder
}

// tenancy is who has which slot.
type tenancy struct {
	// fixed after the offer, but for the epoch and the holder
	id          session.ID
	key         session.Key
	pool        *pool
	once        bool   // the session ends with call 1
	carried     bool   // call 1 came along with the open
	epoch       uint32 // of the holder
	open        session.OpenKey
	node        session.NodeID
	slot        int
	incarnation uint64

	holder uuid.UUID // the client that attached to it, zero while it is the one that opened it
}

// ID is the session's public name.
func (s *Session) ID() session.ID { return s.id }

// Pool is the name of its pool.
func (s *Session) Pool() string { return s.pool.Name }

// Worker is its slot.
func (s *Session) Worker() int { return s.slot }

// Incarnation is how many sessions its slot has served, this one included.
func (s *Session) Incarnation() uint64 { return s.incarnation }

// Once reports that the session ends with its first call, which came along.
func (s *Session) Once() bool { return s.once }

// Client is whose session it is.
func (s *Session) Client() uuid.UUID { return s.open.Client }

// limits are those in force.
func (s *Session) limits() session.Limits { return s.clocks.Limits() }

func (s *Session) live() (live wire.Live) {
	s.write(&live)
	return live
}

// write is live into memory that is used again.
func (s *Session) write(live *wire.Live) {
	*live = wire.Live{
		Client: s.open.Client, Request: s.open.Request, Pool: s.pool.Name, Worker: s.slot, Incarnation: s.incarnation,
		Session: s.id, Key: s.key, Epoch: s.epoch, Limits: wire.LimitsOf(s.limits()), Holder: s.holder,
		First: s.carried, Once: s.once, Quarantined: s.quarantined,
	}
}

// client is what the node knows of one client process.
type client struct {
	id       uuid.UUID
	beat     time.Time // its last beat for all its sessions
	way      wire.Peer // by which it was heard, zero once that was forgiven
	via      wire.Peer
	sessions map[session.ID]*Session // open ones
	held     int                     // slots in its name, open or not
	digest   uint64
}

// pool is a pool's slots.
type pool struct {
	Pool
	slots []*Session // nil: free
	count []uint64   // incarnations
	free  []int      // a queue: the slot longest free is taken first
	shut  []int      // slots that the pool has not got now, the lowest first
	lanes []*lane
	value string // for placement
	last  sizing.Change
	since time.Time // of that

	methods map[string]*method // that are known by name
	latest  *method            // that was asked for
}

func newPool(p Pool) *pool {
	all := p.Capacity()
	q := &pool{Pool: p, slots: make([]*Session, all), count: make([]uint64, all)}
	for i := range all {
		q.shut = append(q.shut, i)
	}
	q.methods = methodsOf(&p)
	q.Slots = 0
	q.resize(p.Slots)
	q.last = sizing.Change{Pool: p.Name, Slots: p.Slots, Why: p.Why}
	for i := range p.Lanes {
		q.lanes = append(q.lanes, &lane{number: i})
	}
	return q
}

// offer judges an offer. A repeated one gets the answer that the first got.
func (c *Core) offer(now time.Time, b *broker, m *wire.Offer, fx *Effects) {
	key := session.OpenKey{Client: m.Client, Request: m.Request}
	decline := func(code session.Code, text string) {
		c.declined.add(now, b, key, m.Try)
		fx.Control(b.peer, &wire.Decline{Seq: b.count(), Client: m.Client, Request: m.Request, Pool: m.Pool, Code: code, Text: wire.Text(text), Try: m.Try})
	}
	if s := c.opens[key]; s != nil {
		c.offerAgain(b, s, fx)
		return
	}
	if p, over := c.past.opened(key); over {
		if p.carried {
			fx.Control(b.peer, &wire.Accept{Seq: b.count(), Live: p.over()})
		} else {
			decline(p.verdict(), p.why.Error())
		}
		return
	}
	p := c.pools[m.Pool]
	switch {
	case c.declined.has(b, key, m.Try): // a copy: the open may be with another node by now
		decline(session.ErrOverloaded, "declined before")
	case p == nil:
		decline(session.ErrPoolUnknown, "not served here")
	case c.draining:
		decline(session.ErrDraining, "the node is draining")
	case len(p.free) == 0:
		decline(session.ErrOverloaded, "no slot is free")
	default:
		if err := c.begin(now, b, p, key, m, fx); err != nil {
			decline(session.ErrOverloaded, err.Error())
		}
	}
}

func (c *Core) offerAgain(b *broker, s *Session, fx *Effects) {
	switch s.state {
	case stateOpen:
		fx.Control(b.peer, &wire.Accept{Seq: b.count(), Live: s.live()})
	case stateStarting, stateClosing: // what becomes of it will be reported
	}
}

// begin takes a slot and has the pool's Open run on it.
func (c *Core) begin(now time.Time, b *broker, p *pool, key session.OpenKey, m *wire.Offer, fx *Effects) error {
	id, err := c.lots.ID()
	if err != nil {
		return fmt.Errorf("draw a session id: %w", err)
	}
	secret, err := c.lots.Key()
	if err != nil {
		return fmt.Errorf("draw a session key: %w", err)
	}
	on := p.laneFor()
	if on == nil && len(p.lanes) > 0 {
		return errNoLane
	}
	slot := p.free[0]
	p.free = p.free[1:]
	p.count[slot]++
	limits := p.Limits.Lowered(m.Limits.Session())
	s := new(Session) // field by field: it is large, and nothing of it is written twice
	s.node, s.id, s.key, s.open, s.pool, s.slot = c.cfg.Node, id, secret, key, p, slot
	s.incarnation, s.epoch, s.clocks = p.count[slot], 1, session.NewClocks(now, limits)
	s.callee.Open(limits.Window, session.DefaultBytes)
	s.place, s.try = -1, m.Try
	if m.Method != "" {
		s.carried, s.once = true, m.Once
		s.first = c.newCall()
		of := p.method([]byte(m.Method))
		*s.first = Call{Number: 1, of: of, Args: m.Args, Raw: m.Raw, from: b.peer, via: m.Via, mem: s.first.mem}
		s.first.Patience, s.first.Trace = wire.PatienceOf(m.Patience), wire.TraceOf(m.Trace)
		s.first.Traced = s.first.Trace.Valid()
		if m.Budget > 0 {
			s.first.Deadline = now.Add(time.Duration(m.Budget) * time.Millisecond)
		}
	}
	p.slots[slot] = s
	s.client = c.clients[key.Client]
	if s.client == nil {
		s.client = &client{id: key.Client, sessions: map[session.ID]*Session{}, beat: now}
		c.clients[key.Client] = s.client
	}
	s.client.held++
	s.client.way, s.client.via = b.peer, m.Via
	c.opens[key] = s
	fx.Start = append(fx.Start, s)
	if on != nil {
		s.join(on)
	}
	switch {
	case p.Bare:
		c.OpenDone(now, s, nil, fx)
	case on != nil:
		on.queue(s)
		c.grant(now, on, fx)
	}
	return nil
}

// OpenDone takes the end of the pool's Open; sessions of a bare pool have none
// to report. A session that nobody wants any
// more by then is stopped at once.
func (c *Core) OpenDone(now time.Time, s *Session, failed error, fx *Effects) {
	s.vacate()
	defer c.grant(now, s.lane, fx)
	if failed != nil {
		c.free(now, s)
		c.openFailed(now, s, failed, fx)
		return
	}
	s.state = stateOpen
	s.clocks = session.NewClocks(now, s.limits())
	c.enter(s)
	s.client.sessions[s.id] = s
	s.client.digest ^= session.Digest(s.id)
	if s.once {
		c.tellLater(s) // and its clocks are watched from then on
	} else {
		c.schedule(s)
		c.tell(s, fx)
	}
	fx.Events = append(fx.Events, Event{What: EventOpened, Session: s.id, Pool: s.pool.Name})
	if s.why != nil {
		c.end(now, s, s.why.Code, s.why.Text, fx)
		return
	}
	if s.first != nil {
		c.takeFirst(now, s, fx)
	}
}

// tell reports a session that is open.
func (c *Core) tell(s *Session, fx *Effects) {
	s.reported = true
	c.accepted(s.live(), fx)
}

// tellLater has the next Tick report a session, if it is not over by then. Of those
// that are, none is kept for long.
func (c *Core) tellLater(s *Session) {
	if len(c.untold) == cap(c.untold) {
		c.untold = slices.DeleteFunc(c.untold, func(s *Session) bool { return s.state == stateClosing && s.reported })
		c.untold = slices.Grow(c.untold, len(c.untold)+1)
	}
	c.untold = append(c.untold, s)
}

// tellUntold reports the one-call sessions that are not over by now. Those
// that are have been reported as a whole, in half the messages.
func (c *Core) tellUntold(fx *Effects) {
	for _, s := range c.untold {
		if !s.reported {
			c.tell(s, fx)
		}
		if s.state == stateOpen && s.place < 0 {
			c.schedule(s)
		}
	}
	clear(c.untold)
	c.untold = c.untold[:0]
}

// openFailed tells those who offered a session that there is none. Where Open
// was cut short because the node ends, another node may take it.
func (c *Core) openFailed(now time.Time, s *Session, failed error, fx *Effects) {
	code, text := session.ErrOpenFailed, failed.Error()
	switch {
	case s.why == nil || s.why.Code == session.ErrWorkerDied:
		c.past.addOpen(now, s.open, &session.Error{Code: code, Text: text, Remote: true})
	case s.why.Code == session.ErrSessionDrained:
		code, text = session.ErrDraining, s.why.Text
	case s.why.Code == session.ErrOverloaded:
		code, text = s.why.Code, s.why.Text
		for _, b := range c.inOrder {
			c.declined.add(now, b, s.open, s.try)
		}
	default: // revoked: the broker only waits for its slot
		code, text = session.ErrWithdrawn, s.why.Text
		c.past.addOpen(now, s.open, s.why)
	}
	m := &wire.Decline{Client: s.open.Client, Request: s.open.Request, Pool: s.pool.Name, Code: code, Text: wire.Text(text), Try: s.try}
	c.report(fx, m, &m.Seq) // to all: a Register may have named it to any of them
}

// takeFirst takes the call that came along with the open, as if it had arrived
// by itself.
func (c *Core) takeFirst(now time.Time, s *Session, fx *Effects) {
	call := s.first
	s.first = nil
	s.from, s.via = call.from, call.via
	size := len(call.Method()) + len(call.Args)
	s.callee.Arrive(1, 0, hashOf(call.Method(), call.Args), size, call.Deadline, call) //nolint:errcheck // a fresh callee takes its first call
	s.clocks.Call(now)
	c.next(now, s, fx)
}

// revoke takes an offer back: nobody came for it.
func (c *Core) revoke(now time.Time, m *wire.Revoke, fx *Effects) {
	key := session.OpenKey{Client: m.Client, Request: m.Request}
	s := c.opens[key]
	switch {
	case s == nil: // it may have overtaken its offer
		c.past.addOpen(now, key, &session.Error{Code: session.ErrWithdrawn})
	case s.state == stateStarting:
		s.why = &session.Error{Code: m.Code, Text: "revoked by the broker"}
		c.cancelOpen(now, s, fx)
	case s.state == stateOpen:
		c.end(now, s, m.Code, "revoked by the broker", fx)
	}
}

// Died ends a session whose worker is gone, where it has not ended yet.
func (c *Core) Died(now time.Time, s *Session, text string, fx *Effects) {
	if s.state == stateStarting {
		s.why = &session.Error{Code: session.ErrWorkerDied, Text: text, Remote: true}
	}
	c.end(now, s, session.ErrWorkerDied, text, fx)
}

// The ends of most sessions, which share them.
var (
	endClosed = &session.Error{Code: session.ErrSessionClosed, Text: "closed by its holder", Remote: true}
	endOnce   = &session.Error{Code: session.ErrSessionClosed, Text: "it was opened for one call", Remote: true}
)

func reason(code session.Code, text string) *session.Error {
	for _, e := range []*session.Error{endClosed, endOnce} {
		if code == e.Code && text == e.Text {
			return e
		}
	}
	return &session.Error{Code: code, Text: text, Remote: true}
}

// end begins the end of an open session: what waits is not run, what runs is
// cancelled, and then its goroutine runs the pool's Close.
func (c *Core) end(now time.Time, s *Session, code session.Code, text string, fx *Effects) {
	if s.state != stateOpen {
		return
	}
	s.state = stateClosing
	s.why = reason(code, text)
	if s.place >= 0 {
		heap.Remove(&c.due, s.place)
	}
	c.breakAll(s, s.why, fx)
	numbers, calls := s.callee.Waiting()
	for i, n := range numbers {
		s.callee.Cancel(n, code)
		c.fail(s, calls[i].from, calls[i].via, n, code, session.NotRun, text, fx)
	}
	if s.callee.Running() != 0 {
		fx.Cancel = append(fx.Cancel, Cancel{Session: s, Number: s.callee.Running(), Why: session.ErrCancelled})
	}
	c.dismiss(s, code, text, fx)
	delete(s.client.sessions, s.id)
	s.client.digest ^= session.Digest(s.id)
	if s.lane == nil {
		fx.Stop = append(fx.Stop, Stop{Session: s, Why: s.why})
	} else {
		s.lane.queue(s)
	}
	if to, via := s.holderAt(); to != 0 && code != session.ErrSessionClosed {
		h := wire.Header{Kind: wire.KindExpired, Code: code, Via: via, Node: c.cfg.Node, Session: s.id, Epoch: s.epoch}
		fx.Session(to, &h, wire.AppendFailure(nil, text, ""))
	}
	c.grant(now, s.lane, fx)
}

// closeBare closes a session that was just ended, where its goroutine has
// nothing left to run.
func (c *Core) closeBare(now time.Time, s *Session, fx *Effects) {
	last := len(fx.Stop) - 1
	switch {
	case !s.pool.Bare || s.callee.Running() != 0 || s.errand != nil || s.quarantined:
	case s.queued:
		c.closeQueued(now, s, fx)
	case last >= 0 && fx.Stop[last].Session == s:
		fx.Stop[last].Over = true
		c.Closed(now, s, fx)
	}
}

// Closed takes the end of the pool's Close: the slot is free. Where it overtakes the
// end of the session's last call, it waits for that.
func (c *Core) Closed(now time.Time, s *Session, fx *Effects) {
	if s.callee.Running() != 0 && !s.quarantined {
		s.closed = true
		return
	}
	s.vacate()
	defer c.grant(now, s.lane, fx)
	c.forget(s)
	c.release(s)
	c.free(now, s)
	c.past.add(now, s)
	why := s.why
	if s.reported {
		m := &c.changes.ended
		m.Session, m.Pool, m.Code, m.Text = s.id, s.pool.Name, why.Code, wire.Text(why.Text)
		c.report(fx, m, &m.Seq)
	} else { // as a whole, once
		live := &c.changes.accept.Live
		s.write(live)
		live.Over = true
		c.report(fx, &c.changes.accept, &c.changes.accept.Seq)
	}
	s.reported = true
	fx.Events = append(fx.Events, Event{What: EventEnded, Session: s.id, Pool: s.pool.Name, Code: why.Code, Text: why.Text})
}

// free gives a slot back.
func (c *Core) free(_ time.Time, s *Session) {
	delete(c.opens, s.open)
	s.pool.slots[s.slot] = nil
	s.pool.free = append(s.pool.free, s.slot)
	if s.lane != nil {
		s.quits()
	}
	if s.client.held--; s.client.held == 0 {
		delete(c.clients, s.client.id)
	}
}

// Drain makes the node take nothing new; its brokers learn it with the next
// beat, which is sent at once.
func (c *Core) Drain() {
	c.draining = true
	c.beatSoon()
}

// beatSoon has the next Tick send a beat to every broker.
func (c *Core) beatSoon() {
	for _, b := range c.brokers {
		b.pacer = heartbeat.NewPacer(c.cfg.Beat)
	}
}

// EndAll ends every open session; those that start end as soon as they are
// open.
func (c *Core) EndAll(now time.Time, code session.Code, text string, fx *Effects) {
	c.endErrands(code, text, fx)
	for _, s := range c.Sessions() {
		if s.state == stateStarting {
			s.why = &session.Error{Code: code, Text: text, Remote: true}
			c.cancelOpen(now, s, fx)
		}
		c.end(now, s, code, text, fx)
	}
}

// Leave says good-bye to every broker: the node holds nothing any more.
func (c *Core) Leave(fx *Effects) {
	for _, b := range c.inOrder {
		if b.welcomed {
			fx.Control(b.peer, &wire.Leave{Seq: b.seq})
		}
	}
}

// Draining reports that the node takes nothing new.
func (c *Core) Draining() bool { return c.draining }

// Held returns how many slots are not free.
func (c *Core) Held() int { return len(c.opens) }
