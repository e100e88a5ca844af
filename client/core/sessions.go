package core

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Session is one open session. What a call touches stands together, for with many
// sessions it has to come from afar: from the beginning to route.
type Session struct {
	head    heading // fixed after the open
	once    bool    // it ends with call 1
	closing bool
	direct  *direct                       // fixed after the open; nil: it has none
	ended   atomic.Pointer[session.Error] // why it is over; whoever likes may look
	broker  wire.Peer                     // by which it is reached
	denied  map[wire.Peer]bool            // the brokers that say its node is gone
	calls   session.Caller[flight]
	pending []Ask // calls that wait for the window

	wake          time.Time // in Core.retries, where it is at place
	place         int
	ahead, behind *Session // while it stands in line there

	// fixed after the open
	route  session.Route
	limits session.Limits
	node   *node

	waiting int // bytes of pending
	closers []any
	closer  [1]any    // the memory of closers, where there is one
	close   time.Time // when Close is sent again
	giveUp  time.Time // when Close has been tried for long enough
}

// heading is what every frame of a session begins with.
type heading struct {
	node    session.NodeID
	session session.ID
	key     session.Key
	epoch   uint32
}

// header is the header of one frame, with nothing in it but what is in all.
func (s *Session) header() wire.Header {
	return wire.Header{Node: s.head.node, Session: s.head.session, Key: s.head.key, Epoch: s.head.epoch}
}

// flight is one call in flight.
type flight struct {
	env       []byte // as it was sent
	tag       any
	deadline  time.Time
	flow      *Flow        // nil: nothing of it travels as chunks
	step      uint64       // of its progress, the last that came
	sent      uint32       // how often
	cancelled session.Code // why Cancel is sent instead, 0: it is not
}

// Ask is what one call asks for.
type Ask struct {
	Method   string
	Args     []byte
	Flow     *Flow         // the argument comes as chunks, Args describes it; nil: Args is it
	Deadline time.Time     // zero: none
	Patience time.Duration // how long it may run without progress, as wire.Header has it
	Trace    wire.Trace    // the span that it is made under, where Valid
	Raw      bool
	Tag      any // comes back with its end
}

// Bounds of the calls of one session that wait for its window. One alone may be
// of any size.
const (
	pendingMost  = 16 * session.MaxWindow
	pendingBytes = 4 * session.DefaultBytes // of their methods and arguments
)

// Route is the routing path.
func (s *Session) Route() session.Route { return s.route }

// ID is its public name.
func (s *Session) ID() session.ID { return s.route.Session }

// Pool is the name of its pool.
func (s *Session) Pool() string { return s.route.Pool }

// Limits are the limits in force.
func (s *Session) Limits() session.Limits { return s.limits }

// Ended returns why the session is over, nil while it is open; it is not to be
// changed. Unlike all else any goroutine may ask for it at any time.
func (s *Session) Ended() *session.Error { return s.ended.Load() }

// begin makes a session from its route.
func (c *Core) begin(now time.Time, broker wire.Peer, m *wire.Opened, first uint64, fx *Effects) *Session {
	s := new(Session) // field by field: it is large, and nothing of it is written twice
	r := &s.route
	r.Broker, r.Node, r.NodeName, r.PID, r.Worker = m.Broker, m.Node, m.NodeName, m.PID, m.Worker
	r.Incarnation, r.Session, r.Epoch, r.Endpoint, r.Pool = m.Incarnation, m.Session, m.Epoch, m.Endpoint, m.Pool
	s.head = heading{m.Node, m.Session, m.Key, m.Epoch}
	s.limits, s.broker, s.place = m.Limits.Session().WithDefaults(), broker, placeNone
	s.calls.Open(s.limits.Window, session.DefaultBytes, first)
	c.sessions[m.Session] = s
	c.nearby.Fit(len(c.sessions))
	*c.nearby.Place(&m.Session) = s
	c.hold(now, s)
	c.shortCut(now, s, fx)
	return s
}

// session is the one of that id, nil if there is none.
func (c *Core) session(id *session.ID) *Session {
	at := c.nearby.Place(id)
	if s := *at; s != nil && s.head.session == *id {
		return s
	}
	s := c.sessions[*id]
	if s != nil {
		*at = s
	}
	return s
}

// Call sends a call, or lets it wait for the window. Its end comes as a Result
// with its tag, unless the session is over already: then the error comes at
// once. The ask is copied, its arguments too.
func (c *Core) Call(now time.Time, s *Session, a *Ask, fx *Effects) *session.Error {
	switch {
	case s.Ended() != nil:
		return s.refusal()
	case a.Method == "" || len(a.Method) > wire.MaxMethod:
		return infer(session.ErrMethodUnknown, session.NotRun, 0, "method name of %d bytes, want 1 to %d", len(a.Method), wire.MaxMethod)
	case len(a.Args) > wire.MaxArgument:
		return infer(session.ErrTooLarge, session.NotRun, 0, "argument of %d bytes, at most %d", len(a.Args), wire.MaxArgument)
	case len(s.pending) >= pendingMost:
		return infer(session.ErrOverloaded, session.NotRun, 0, "%d calls of this session wait already", len(s.pending))
	case len(s.pending) > 0 && s.waiting+a.size() > pendingBytes:
		return infer(session.ErrOverloaded, session.NotRun, 0, "calls of this session with %d bytes wait already", s.waiting)
	}
	if len(s.pending) > 0 || !c.start(now, s, a, fx, false) {
		own := *a
		own.Args = slices.Clone(a.Args)
		s.pending = append(s.pending, own)
		s.waiting += a.size()
	}
	return nil
}

func (a *Ask) size() int { return len(a.Method) + len(a.Args) }

// refusal is the error of a call on a session that is over: it was never
// sent.
func (s *Session) refusal() *session.Error {
	e := *s.Ended()
	e.Outcome = session.NotRun
	return &e
}

// start puts a call in flight if the window has room. One that was sent
// already, with its open, is only kept for sending it again.
func (c *Core) start(now time.Time, s *Session, a *Ask, fx *Effects, sent bool) bool {
	size := wire.HeaderSize + len(a.Method) + len(a.Args)
	n, f, ok := s.calls.Begin(now, size)
	if !ok {
		return false
	}
	h := s.header()
	h.Number, h.Ack, h.Patience = n, s.calls.Ack(), a.Patience
	if a.Raw {
		h.Flags |= wire.FlagRaw
	}
	if a.Trace.Valid() {
		h.Flags |= wire.FlagTrace
		h.Trace = a.Trace
		size += wire.TraceSize
	}
	if a.Flow != nil {
		h.Flags |= wire.FlagStream
		a.Flow.s, a.Flow.n = s, n
	}
	if !a.Deadline.IsZero() {
		h.Budget = max(a.Deadline.Sub(now), time.Millisecond)
	}
	f.env = wire.AppendCall(c.buffer(size), &h, a.Method, a.Args)
	f.tag, f.deadline, f.flow = a.Tag, a.Deadline, a.Flow
	if sent {
		f.sent++
	} else if way, ok := c.way(s); ok {
		fx.Copy(way, f.env)
		f.sent++
	} else {
		s.calls.Postpone(n, now) // as soon as there is one
	}
	c.armInLine(s, now.Add(session.RetryFirst))
	return true
}

// Cancel gives a call up that its owner no longer waits for: one that was never
// sent ends as not run; for any other the worker is asked, and its answer
// settles it. Why is ErrCancelled or ErrDeadline. Found is false where no such
// call is in hand.
func (c *Core) Cancel(now time.Time, s *Session, tag any, why session.Code, fx *Effects) (found bool) {
	for i := range s.pending {
		if s.pending[i].Tag == tag {
			c.endFlow(s.pending[i].Flow, false, fx)
			s.waiting -= s.pending[i].size()
			s.pending = append(s.pending[:i], s.pending[i+1:]...)
			fx.Results = append(fx.Results, Result{Tag: tag, Err: infer(why, session.NotRun, 0, "never sent")})
			return true
		}
	}
	for _, n := range s.calls.All() {
		f := s.calls.At(n)
		if f.tag != tag {
			continue
		}
		f.cancelled = why
		c.endFlow(f.flow, false, fx)
		s.calls.Postpone(n, now)
		c.again(now, s, fx)
		return true
	}
	return false
}

// Abandon settles a call as unknown because its owner will not wait for the
// worker's answer to Cancel. The number stays in flight until it is answered,
// so that the worker's order is kept.
func (c *Core) Abandon(s *Session, tag any, fx *Effects) (n uint64, sent bool) {
	for _, n := range s.calls.All() {
		if f := s.calls.At(n); f.tag == tag {
			f.tag = nil
			c.endFlow(f.flow, false, fx)
			return n, f.sent > 0
		}
	}
	return 0, false
}

// Tags calls f with the tag of every call, open and Close that has not ended. F does
// not call the core.
func (c *Core) Tags(f func(tag any)) {
	each := func(is *flight) {
		if is.tag != nil {
			f(is.tag)
		}
	}
	c.retries.each(func(s *Session) { // whoever has calls in flight is there; who has none has none that wait
		s.calls.Each(each)
		for i := range s.pending {
			f(s.pending[i].Tag)
		}
		for _, tag := range s.closers {
			f(tag)
		}
	})
	for _, o := range c.opens {
		if o.tag != nil {
			f(o.tag)
		}
		if o.first != nil && o.first.Tag != nil {
			f(o.first.Tag)
		}
	}
}

// again sends whatever of a session is due: calls, cancels, its Close.
func (c *Core) again(now time.Time, s *Session, fx *Effects) {
	if d := s.direct; d != nil && d.up && now.Sub(d.heard) >= session.RetryFirst {
		c.doubt(now, d, "a call was not answered in time", fx)
	}
	way, there := c.way(s)
	s.calls.Overdue(now, func(n uint64, f *flight) { c.resend(now, s, n, f, way, there, fx) })
	if s.closing && !now.Before(s.close) {
		c.sendClose(now, s, fx)
	}
	c.rearm(now, s, there)
}

// lostWay is how soon a session without any broker looks for one again.
const lostWay = 50 * time.Millisecond

func (c *Core) rearm(now time.Time, s *Session, there bool) {
	c.retries.quit(s)
	wake, due := s.calls.NextDue()
	if s.closing && len(c.sessions) > 0 && c.sessions[s.route.Session] == s && (!due || s.close.Before(wake)) {
		wake, due = s.close, true
	}
	if !due {
		return
	}
	if floor := now.Add(lostWay); !there && wake.Before(floor) {
		wake = floor
	}
	c.arm(s, wake)
}

func (c *Core) resend(now time.Time, s *Session, n uint64, f *flight, way wire.Peer, there bool, fx *Effects) {
	if !there {
		s.calls.Postpone(n, now)
		return
	}
	if f.cancelled == 0 && !f.deadline.IsZero() && !now.Before(f.deadline) {
		f.cancelled = session.ErrDeadline
		c.endFlow(f.flow, false, fx)
	}
	if f.cancelled != 0 {
		h := s.header()
		h.Kind, h.Code, h.Number, h.Ack = wire.KindCancel, f.cancelled, n, s.calls.Ack()
		fx.Session(way, &h, nil)
	} else if !c.flowAgain(f.flow, fx) {
		var budget time.Duration
		if !f.deadline.IsZero() {
			budget = max(f.deadline.Sub(now), time.Millisecond)
		}
		wire.SetAck(f.env, s.calls.Ack(), budget)
		fx.Copy(way, f.env)
	}
	f.sent++
}

// settle ends a call. The first end counts; those that wait for the window get
// their turn.
func (c *Core) settle(now time.Time, s *Session, n uint64, r Result, fx *Effects) {
	end, ok := c.end(s, n, r.Err == nil, fx)
	if !ok {
		return
	}
	if end != nil {
		r.Tag = end.Tag
		if end.Flow != nil {
			r.Flow = end.Flow
		}
		*end = r
	}
	c.ended(now, s, fx)
}

// replied is settle for a reply in one message, whose result is made where it goes.
func (c *Core) replied(now time.Time, s *Session, h *wire.Header, body []byte, fx *Effects) {
	end, ok := c.end(s, h.Number, true, fx)
	if !ok {
		return
	}
	if end != nil {
		end.Body, end.Lent, end.Raw, end.Next = body, true, h.Flags&wire.FlagRaw != 0, h.Flags&wire.FlagNext != 0
	}
	c.ended(now, s, fx)
}

// end takes a call out of flight and returns where its result goes, with its tag and
// flow: nil where nobody waits for it. It is false where the call has ended before.
func (c *Core) end(s *Session, n uint64, done bool, fx *Effects) (to *Result, ok bool) {
	f, ok := s.calls.Settle(n)
	if !ok {
		return nil, false
	}
	c.recycle(f.env)
	if f.tag != nil {
		fx.Results = append(fx.Results, Result{})
		to = &fx.Results[len(fx.Results)-1]
		to.Tag = f.tag
	}
	if f.flow == nil {
		return to, true
	}
	if f.flow.in != nil && to != nil {
		to.Flow = f.flow // its Begun may still be on the way to whoever gets this
	}
	c.endFlow(f.flow, done, fx)
	return to, true
}

// ended does what the end of a call makes possible.
func (c *Core) ended(now time.Time, s *Session, fx *Effects) {
	for len(s.pending) > 0 && s.Ended() == nil {
		p := &s.pending[0]
		if !p.Deadline.IsZero() && !now.Before(p.Deadline) {
			c.endFlow(p.Flow, false, fx)
			fx.Results = append(fx.Results, Result{Tag: p.Tag, Err: infer(session.ErrDeadline, session.NotRun, 0, "never sent")})
		} else if !c.start(now, s, p, fx, false) {
			break
		}
		s.waiting -= p.size()
		s.pending[0] = Ask{}
		s.pending = s.pending[1:]
	}
	if s.once && s.Ended() == nil && s.calls.InFlight() == 0 {
		c.over(s, endOnce, fx)
	}
	c.forget(s)
}

// failed takes a call's fail. Some only ask for patience; some say that the
// whole session is over.
func (c *Core) failed(now time.Time, from wire.Peer, s *Session, h *wire.Header, body []byte, fx *Effects) {
	f, inFlight := s.calls.Get(h.Number)
	if !inFlight {
		return
	}
	switch h.Code {
	case session.ErrRecovering:
		s.calls.Postpone(h.Number, now.Add(recoverAgain))
		c.arm(s, now.Add(recoverAgain))
		return
	case session.ErrOverloaded: // of the session's own bound: it was not taken
		s.calls.Postpone(h.Number, now.Add(recoverAgain))
		c.arm(s, now.Add(recoverAgain))
		return
	}
	denied := h.Code == session.ErrWorkerLost && h.Via == 0 && c.brokers[from] != nil // a broker's word, not the node's own
	if denied && s.Direct() {                                                         // it is only cut off from that broker
		s.calls.Postpone(h.Number, now.Add(recoverAgain))
		c.arm(s, now.Add(recoverAgain))
		return
	}
	if denied && c.elsewhere(now, from, s) {
		return
	}
	what := wire.ParseFailure(body)
	e := &session.Error{Code: h.Code, Outcome: h.Outcome(), Call: h.Number, Text: what.Text, Stack: what.Stack, Remote: true}
	if over(h.Code) {
		c.over(s, &session.Error{Code: h.Code, Text: what.Text, Remote: true}, fx)
	}
	if denied && f.sent > 1 {
		e.Outcome = session.Unknown // this copy was not passed on; an earlier one may have been
	}
	c.settle(now, s, h.Number, Result{Err: e}, fx)
	if denied {
		c.fail(now, s, s.Ended(), fx)
	}
}

// elsewhere turns a session to a broker that has not denied its node yet, after
// from has: one that was restarted may know less than the others. It is false
// once all that are there have denied it.
func (c *Core) elsewhere(now time.Time, from wire.Peer, s *Session) bool {
	if len(c.order) == 1 {
		return false
	}
	if s.denied == nil {
		s.denied = map[wire.Peer]bool{}
	}
	s.denied[from] = true
	if s.node != nil {
		s.node.denied = true
	}
	for _, b := range c.order {
		if b.welcomed && !s.denied[b.peer] {
			s.broker = b.peer
			s.calls.Hurry(now)
			c.arm(s, now)
			if n := s.node; n != nil {
				n.pacer = heartbeat.NewPacer(n.lease / 4) // the other one is asked at once
			}
			return true
		}
	}
	return false
}

// over reports whether a code says that the session is over, and not just one
// call of it.
func over(code session.Code) bool {
	switch code {
	case session.ErrSessionUnknown, session.ErrSessionForeign, session.ErrSessionClosed, session.ErrSessionMoved,
		session.ErrSessionExpired, session.ErrSessionDrained, session.ErrWorkerLost, session.ErrWorkerPanic, session.ErrWorkerHung,
		session.ErrWorkerDied:
		return true
	}
	return false
}

// over marks a session as over. Calls in flight are answered one by one, by
// their worker or by retries; those that were never sent are not run.
func (c *Core) over(s *Session, why *session.Error, fx *Effects) {
	if s.Ended() == nil {
		s.ended.Store(why)
	}
	c.unhold(s)
	for _, p := range s.pending {
		c.endFlow(p.Flow, false, fx)
		fx.Results = append(fx.Results, Result{Tag: p.Tag, Err: s.refusal()})
	}
	s.pending, s.waiting = nil, 0
}

// fail ends everything of a session whose worker will not answer any more.
func (c *Core) fail(now time.Time, s *Session, why *session.Error, fx *Effects) {
	c.over(s, why, fx)
	for _, n := range s.calls.All() {
		f, _ := s.calls.Get(n)
		e := *why
		e.Call, e.Outcome = n, session.Unknown
		if f.sent == 0 {
			e.Outcome = session.NotRun
		}
		c.settle(now, s, n, Result{Err: &e}, fx)
	}
	c.shut(s, nil, fx)
}

// lost takes a broker's word that a node is gone.
func (c *Core) lost(now time.Time, from wire.Peer, m *wire.Lost, fx *Effects) {
	for i, id := range m.Sessions {
		s := c.sessions[id]
		if s == nil || s.route.Node != m.Node {
			continue
		}
		if len(m.Started) == 0 && (s.Direct() || c.elsewhere(now, from, s)) {
			continue // without the start record it may only be cut off from that broker
		}
		why := &session.Error{Code: m.Code, Text: m.Text, Remote: true}
		if len(m.Started) > 0 {
			c.failBeyond(now, s, m.Started[i], why, fx)
		}
		c.fail(now, s, why, fx)
	}
}

// failBeyond ends the calls that a dead worker's start record shows as not
// started.
func (c *Core) failBeyond(now time.Time, s *Session, started uint64, why *session.Error, fx *Effects) {
	c.over(s, why, fx)
	for _, n := range s.calls.All() {
		if n > started {
			e := *why
			e.Call, e.Outcome = n, session.NotRun
			c.settle(now, s, n, Result{Err: &e}, fx)
		}
	}
}

// The ends of most sessions, which share them.
var (
	endHere = &session.Error{Code: session.ErrSessionClosed, Text: "closed here"}
	endOnce = &session.Error{Code: session.ErrSessionClosed, Text: "it was opened for one call", Remote: true}
)

// Close ends a session. Its end comes as a Result with this tag; a session
// that is over already is closed.
func (c *Core) Close(now time.Time, s *Session, tag any, fx *Effects) {
	if c.sessions[s.route.Session] != s {
		fx.Results = append(fx.Results, Result{Tag: tag})
		return
	}
	if s.closers == nil {
		s.closers = s.closer[:0]
	}
	s.closers = append(s.closers, tag)
	if s.closing {
		return
	}
	s.closing, s.giveUp = true, now.Add(max(s.limits.Lease, closeFor))
	if s.Ended() == nil {
		c.over(s, endHere, fx)
	}
	c.sendClose(now, s, fx)
}

// closeFor is how long at least a Close is repeated; from then on the lease,
// which nobody keeps any more, ends the session.
const (
	closeFor   = 10 * time.Second
	closeAgain = time.Second
)

func (c *Core) sendClose(now time.Time, s *Session, fx *Effects) {
	s.close = now.Add(closeAgain)
	if now.After(s.giveUp) {
		c.shut(s, infer(session.ErrUnreachable, session.Unknown, 0, "no answer to Close; the lease ends the session"), fx)
		return
	}
	if way, ok := c.way(s); ok {
		h := s.header()
		h.Kind, h.Number, h.Ack = wire.KindClose, s.calls.Next(), s.calls.Ack()
		fx.Session(way, &h, nil)
	}
	c.arm(s, s.close)
}

// closedBy takes the answer to Close. Calls that are still in flight stay in
// hand until they are answered.
func (c *Core) closedBy(now time.Time, s *Session, h *wire.Header, fx *Effects) {
	if h.Code == session.ErrRecovering {
		s.close = now.Add(recoverAgain)
		c.arm(s, s.close)
		return
	}
	if !s.closing {
		return
	}
	for _, n := range s.calls.All() { // the worker's answers to these were sent before
		if f, _ := s.calls.Get(n); f.tag == nil {
			c.settle(now, s, n, Result{}, fx)
		}
	}
	c.shut(s, nil, fx)
}

// shut tells those that wait for a session's Close.
func (c *Core) shut(s *Session, err *session.Error, fx *Effects) {
	for _, tag := range s.closers {
		fx.Results = append(fx.Results, Result{Tag: tag, Err: err})
	}
	s.closers, s.closer = nil, [1]any{}
	s.closing = false
	c.forget(s)
}

// forget drops a session that is over, once nothing of it is in flight and
// nobody waits for its Close.
func (c *Core) forget(s *Session) {
	if s.Ended() == nil || s.closing || s.calls.InFlight() > 0 || c.sessions[s.route.Session] != s {
		return
	}
	c.retries.quit(s)
	c.unhold(s)
	c.part(s)
	delete(c.sessions, s.route.Session)
	if at := c.nearby.Place(&s.route.Session); *at == s {
		*at = nil
	}
}
