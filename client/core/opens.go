package core

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Wish is what an open asks for.
type Wish struct {
	Pool     string
	Labels   map[string]string
	Want     string        // the value that the node must have said, where the pool's policy is equal
	Priority int           // -8 to 8, higher first
	Wait     time.Duration // in the queue; 0: the broker's default
	Notify   bool          // be told the place in the queue
	Limits   session.Limits
	First    *First // call 1, which comes along; its end comes as a Result with its own tag
	Once     bool   // the session ends with call 1
}

// First is a call that travels with its session's open. Its arguments must stay
// as they are until its end.
type First = Ask

// Opening is one open that has not been answered.
type Opening struct {
	request   uuid.UUID
	tag       any
	ask       wire.Open
	first     *First
	since     time.Time // when it was sent first
	deadline  time.Time // of the wait, zero: the broker's
	broker    wire.Peer
	sent      bool
	withdrawn bool
	again     time.Time
	tries     int
	number    uint64   // order of asking
	session   *Session // once it is answered, for a call that came along
	step      uint64   // of the progress of a call that came along, the last that came
}

// Open asks for a session. Its end comes as a Result with this tag.
func (c *Core) Open(now time.Time, w Wish, tag any, fx *Effects) (*Opening, *session.Error) {
	o := new(Opening)
	if refused := c.OpenIn(now, o, &w, tag, fx); refused != nil {
		return nil, refused
	}
	return o, nil
}

// OpenIn is Open in memory of the caller's, which is his again after that end, if
// he has not taken the open back.
func (c *Core) OpenIn(now time.Time, o *Opening, w *Wish, tag any, fx *Effects) *session.Error {
	request, err := c.lots.ID()
	if err != nil {
		return &session.Error{Code: session.ErrOpenFailed, Outcome: session.NotRun, Text: "draw a request id", Cause: err}
	}
	*o = Opening{
		request: request, tag: tag, number: c.asked,
		ask: wire.Open{
			Client: c.cfg.ID, Request: request, Pool: w.Pool, Labels: w.Labels, Want: w.Want, Priority: int8(min(max(w.Priority, -8), 8)),
			Wait: wire.Millis(w.Wait), Notify: w.Notify, Limits: wire.LimitsOf(w.Limits),
		},
	}
	if f := w.First; f != nil {
		o.first = f
		o.ask.Method, o.ask.Args, o.ask.Raw, o.ask.Once = f.Method, f.Args, f.Raw, w.Once
		o.ask.Patience, o.ask.Trace = wire.PatienceMillis(f.Patience), f.Trace.Field()
		if len(f.Args) > wire.MaxEnvelope/2 {
			return infer(session.ErrTooLarge, session.NotRun, 0, "argument of %d bytes, at most %d with an open", len(f.Args), wire.MaxEnvelope/2)
		}
	}
	if err := o.ask.Check(); err != nil {
		return &session.Error{Code: session.ErrBadMessage, Outcome: session.NotRun, Text: err.Error()}
	}
	if w.Wait > 0 {
		o.deadline = now.Add(w.Wait)
	}
	c.opens[request] = o
	c.asked++
	c.ask(now, o, fx)
	return nil
}

// Withdraw takes an open back. It is over at once for its owner: no Result for
// it comes any more, unless found is false because it has come. The broker is
// told until it answers, and that answer is the Result of a call that came
// along.
func (c *Core) Withdraw(now time.Time, o *Opening, fx *Effects) (found bool) {
	if c.opens[o.request] != o || o.withdrawn {
		return false
	}
	o.withdrawn, o.tag, o.tries = true, nil, 0
	if !o.sent {
		delete(c.opens, o.request)
		if o.first != nil {
			fx.Results = append(fx.Results, Result{Tag: o.first.Tag, Err: infer(session.ErrCancelled, session.NotRun, 0, "never sent")})
		}
		return true
	}
	c.ask(now, o, fx)
	return true
}

// GiveUpFirst gives up a call that travels with its open: while there is no
// session the open is withdrawn, after that the call is cancelled. What is
// known of it comes as its Result.
func (c *Core) GiveUpFirst(now time.Time, o *Opening, why session.Code, fx *Effects) {
	if c.opens[o.request] == o {
		c.Withdraw(now, o, fx)
		return
	}
	if o.session != nil {
		c.Cancel(now, o.session, o.first.Tag, why, fx)
	}
}

// withdrawMost is how often a Withdraw is repeated: by then the broker's own
// clocks have done its work.
const withdrawMost = 8

// ask sends an open, or its withdrawal, and says when to send it again.
func (c *Core) ask(now time.Time, o *Opening, fx *Effects) {
	o.again = now.Add(min(session.RetryFirst<<min(o.tries, 8), session.RetryMost))
	if !c.there(o.broker) && (!o.sent || !o.withdrawn) {
		c.turnTo(o)
	}
	if o.withdrawn {
		c.askBack(o, fx)
		return
	}
	if !c.there(o.broker) {
		return
	}
	o.tries++
	if o.sent {
		o.ask.Since = max(wire.Millis(now.Sub(o.since)), 1) // never as if it were the first, whatever the clock says
	} else {
		o.sent, o.since, o.ask.Since = true, now, 0
		b := c.brokers[o.broker]
		o.ask.Broker, o.ask.Epoch = b.id, b.epoch
	}
	if o.first != nil && !o.first.Deadline.IsZero() {
		o.ask.Budget = max(wire.Millis(o.first.Deadline.Sub(now)), 1)
	}
	if !o.deadline.IsZero() {
		o.ask.Wait = max(wire.Millis(o.deadline.Sub(now)), 1)
	}
	fx.Control(o.broker, &o.ask)
}

// askBack sends a withdrawal, to the broker that has the open and to no other:
// one that does not come back is given up like one that does not answer.
func (c *Core) askBack(o *Opening, fx *Effects) {
	o.tries++
	if c.there(o.broker) {
		fx.Control(o.broker, &wire.Withdraw{Client: c.cfg.ID, Request: o.request})
	}
	if o.tries <= withdrawMost {
		return
	}
	delete(c.opens, o.request)
	if o.first != nil && o.first.Tag != nil {
		fx.Results = append(fx.Results, Result{Tag: o.first.Tag, Err: infer(session.ErrCancelled, session.Unknown, 1, "no broker says what became of it")})
	}
}

// turnTo has an open go to the first broker that is there.
func (c *Core) turnTo(o *Opening) {
	for _, b := range c.order {
		if b.welcomed {
			o.ask.Moved = o.ask.Moved || (o.sent && o.broker != b.peer)
			o.broker = b.peer
			return
		}
	}
}

// watchOpens repeats what was not answered. A broker that does not answer at
// all is found by its beats; an answer that was lost, by this.
func (c *Core) watchOpens(now time.Time, fx *Effects) {
	if len(c.opens) == 0 {
		return
	}
	unreached := !slices.ContainsFunc(c.order, func(b *broker) bool { return b.welcomed })
	for _, o := range c.opensInOrder() {
		switch {
		case unreached && o.late(now):
			c.lapse(now, o, "no broker answers", fx)
		case !now.Before(o.again):
			c.ask(now, o, fx)
		}
	}
}

// lateBy is how long after the end of an open's wait its broker's answer may
// still come: past it the client itself ends what no broker does.
const lateBy = 100 * time.Millisecond

// late reports that the wait of an open is over, and no answer has come to it.
func (o *Opening) late(now time.Time) bool {
	return !o.withdrawn && !o.deadline.IsZero() && now.After(o.deadline.Add(lateBy))
}

// lapse ends an open whose wait is over. The broker that may have it is told when
// it is there again; what it knows of a call that came along is for nobody then.
func (c *Core) lapse(now time.Time, o *Opening, why string, fx *Effects) {
	e := infer(session.ErrNoWorker, session.NotRun, 0, "%s, and its wait is over", why)
	if o.sent && o.first != nil {
		e.Outcome = session.Unknown
	}
	c.endOpen(o, e, fx)
	back := *o // whose memory is not the core's any more
	back.first = nil
	c.opens[o.request] = &back
	c.Withdraw(now, &back, fx)
}

func (c *Core) opensInOrder() []*Opening {
	return slices.SortedFunc(maps.Values(c.opens), func(a, b *Opening) int {
		return cmp.Or(cmp.Compare(a.number, b.number), slices.Compare(a.request[:], b.request[:]))
	})
}

// opened takes a route. One that nobody waits for any more is given back.
func (c *Core) opened(now time.Time, b *broker, m *wire.Opened, fx *Effects) {
	o := c.opens[m.Request]
	if o == nil {
		if s := c.sessions[m.Session]; s == nil {
			fx.Control(b.peer, &wire.Withdraw{Client: c.cfg.ID, Request: m.Request})
		}
		return
	}
	if o.withdrawn {
		c.ask(now, o, fx)
		return
	}
	delete(c.opens, m.Request)
	s := c.begin(now, b.peer, m, 1, fx)
	if n := s.node; n != nil && now.Sub(o.since) > n.lease/4 { // its lease runs since it was opened there
		c.renew(n, nil, fx)
	}
	if o.tag != nil {
		fx.Results = append(fx.Results, Result{Tag: o.tag, Session: s})
	}
	if o.first != nil {
		c.followFirst(now, s, o, fx)
	}
}

// followFirst puts the call that came along with an open in flight: it has been
// sent, and is asked for again as any other.
func (c *Core) followFirst(now time.Time, s *Session, o *Opening, fx *Effects) {
	f := o.first
	o.session = s
	s.once = o.ask.Once
	if c.start(now, s, f, fx, true) && o.step > 0 { // values of progress may have come before the route
		s.calls.At(1).step = o.step
	}
}

// onlyAnswer takes the answer to an open that was for one call, which names the
// request: there was no need for a route. What only asks for patience is left
// to the open's own repetition, which brings the route.
func (c *Core) onlyAnswer(h *wire.Header, body []byte, fx *Effects) {
	o := c.opens[uuid.UUID(h.Key)]
	if o == nil || o.first == nil || !o.ask.Once || h.Number != 1 {
		return
	}
	r := resultOf(h, body)
	r.Tag = o.first.Tag
	switch h.Kind {
	case wire.KindReply:
		if h.Flags&wire.FlagStream != 0 {
			r = Result{Tag: r.Tag, Err: infer(session.ErrStream, session.Unknown, 1, noStream)}
		}
	case wire.KindFail:
		f := wire.ParseFailure(body)
		r = Result{Tag: o.first.Tag, Err: &session.Error{Code: h.Code, Outcome: h.Outcome(), Call: 1, Text: f.Text, Stack: f.Stack, Remote: true}}
	case wire.KindProgress:
		c.firstStep(o, r, h.Ack, fx)
		return
	default:
		return
	}
	delete(c.opens, o.request)
	if r.Tag != nil {
		fx.Results = append(fx.Results, r)
	}
}

// firstStep takes one value of the progress of a call that came with its open,
// and has no route.
func (c *Core) firstStep(o *Opening, r Result, step uint64, fx *Effects) {
	if step > o.step && r.Tag != nil {
		o.step = step
		fx.Steps = append(fx.Steps, Step{Tag: r.Tag, Body: r.Body, Raw: r.Raw})
	}
}

// refused takes the end of an open that got no route.
func (c *Core) refused(now time.Time, b *broker, m *wire.Refused, fx *Effects) {
	o := c.opens[m.Request]
	switch {
	case o == nil || (o.withdrawn && m.Code != session.ErrWithdrawn):
	case o.withdrawn:
		delete(c.opens, m.Request)
		if o.first != nil && o.first.Tag != nil {
			e := &session.Error{Code: session.ErrCancelled, Outcome: session.NotRun, Remote: true}
			if m.Unknown {
				e.Outcome = session.Unknown
			}
			fx.Results = append(fx.Results, Result{Tag: o.first.Tag, Err: e})
		}
	case m.Code == session.ErrDraining && !o.ask.Moved && c.another(o, b):
		o.ask.Moved, o.sent = false, false
		c.ask(now, o, fx)
	case m.Code == session.ErrDraining && c.another(o, b):
		c.ask(now, o, fx)
	case m.Code == session.ErrDraining && (o.deadline.IsZero() || now.Before(o.deadline)):
		o.again = now.Add(recoverAgain) // the next one at that address will take it
		if !o.ask.Moved {
			o.sent = false // it was refused, and only this one had it
		}
	case m.Code.Retryable() && o.first == nil && o.late(now): // of a call it may know more in a moment
		c.lapse(now, o, "the broker is "+m.Code.Error(), fx)
	case m.Code.Retryable():
		o.again, o.tries = now.Add(recoverAgain), 0
	default:
		delete(c.opens, m.Request)
		e := &session.Error{Code: m.Code, Outcome: session.NotRun, Text: m.Text, Remote: true}
		if m.Unknown {
			e.Outcome = session.Unknown
		}
		c.endOpen(o, e, fx)
	}
}

// endOpen tells whoever waits for an open, and for the call that came along,
// that there is no session.
func (c *Core) endOpen(o *Opening, e *session.Error, fx *Effects) {
	if o.tag != nil {
		fx.Results = append(fx.Results, Result{Tag: o.tag, Err: e})
	}
	if o.first != nil && o.first.Tag != nil {
		also := *e
		fx.Results = append(fx.Results, Result{Tag: o.first.Tag, Err: &also})
	}
}

// recoverAgain is after how long something is tried again that a recovering
// broker put off.
const recoverAgain = 100 * time.Millisecond

// another moves an open to a broker other than b, if one is there.
func (c *Core) another(o *Opening, b *broker) bool {
	for _, other := range c.order {
		if other != b && other.welcomed {
			o.broker, o.tries, o.ask.Moved = other.peer, 0, true
			return true
		}
	}
	return false
}

// String is for logs.
func (o *Opening) String() string { return fmt.Sprintf("open %s in pool %q", o.request, o.ask.Pool) }
