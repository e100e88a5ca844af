package sim

import (
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// user is one goroutine of a client's program: it opens a session, calls, and
// closes it, again and again. It uses the core as package client does.
type user struct {
	client  *clientPart
	number  int
	session *core.Session
	left    int // calls to make in this session
	flying  int // of this session's, not ended
	closing bool
	idle    bool // will not begin anything any more
	opening *opening

	attaching bool
}

// opening waits for one open.
type opening struct {
	user  *user
	open  *core.Opening
	ended bool
	given bool // taken back
	begun time.Duration
	first *calling // the call that came along
	once  bool     // the session ends with it
}

// carry puts a call into an open. In a session for one call nobody waits for
// the open itself.
func (o *opening) carry(wish *core.Wish) {
	u := o.user
	c, w := u.client, u.client.w
	k := u.wish()
	o.first = &calling{user: u, opening: o, record: w.truth.calling(c, uuid.Nil)}
	k.id = o.first.record.id
	wish.First = &core.First{Method: "work", Args: k.append(nil), Raw: true, Tag: o.first}
	wish.Once = w.chance.in(0.5)
	o.once = wish.Once
	if w.plan.deadlines && w.chance.in(0.4) {
		wish.First.Deadline = c.now().Add(w.chance.skewed(time.Millisecond, 3*time.Second))
	}
	w.note("%-8s . user %d's open carries work %d, once %v", c.name, u.number, k.id, wish.Once)
}

// open asks for a session.
func (u *user) open() {
	c, w := u.client, u.client.w
	if u.session != nil || u.opening != nil || u.attaching {
		return // it has attached meanwhile
	}
	if w.now > w.plan.work {
		u.idle = true
		return
	}
	wish := core.Wish{Pool: w.pools()[w.chance.IntN(w.plan.pools)]}
	if w.plan.shortWaits && w.chance.in(0.3) {
		wish.Wait = w.chance.between(20*time.Millisecond, 2*time.Second)
	}
	if w.chance.in(0.2) {
		wish.Limits.Window = w.chance.count(1, 16)
	}
	wish.Want = w.want()
	wish.Notify = w.chance.in(0.3)
	wish.Priority = w.chance.count(-2, 2)
	o := &opening{user: u, begun: w.now}
	if w.plan.firsts && w.chance.in(0.4) {
		o.carry(&wish)
	}
	u.opening = o
	w.truth.opening(o)
	w.note("%-8s . user %d opens in %s", c.name, u.number, wish.Pool)
	c.step(func(fx *core.Effects) {
		open, refused := c.core.Open(c.now(), wish, o, fx)
		if refused != nil {
			w.fail("%s: an open is refused before it is sent: %v", c.name, refused)
		}
		o.open = open
	})
	if w.plan.withdraws && w.chance.in(0.4) {
		c.after(w.chance.skewed(0, 4*time.Second), o.withdraw)
	}
}

// withdraw gives an open up, as Open does when its context ends.
func (o *opening) withdraw() {
	if o.ended {
		return
	}
	u := o.user
	c := u.client
	c.w.note("%-8s . user %d gives its open up", c.name, u.number)
	o.ended, o.given = true, true
	u.opening = nil
	c.w.truth.openEnded(o)
	c.step(func(fx *core.Effects) { c.core.Withdraw(c.now(), o.open, fx) })
	c.after(c.w.chance.between(0, time.Second), u.open)
}

func (o *opening) settle(r *core.Result) {
	u := o.user
	c, w := u.client, u.client.w
	if o.ended {
		w.fail("%s: user %d's open ends twice (given up: %v, now %v)", c.name, u.number, o.given, r.Err)
		return
	}
	o.ended = true
	u.opening = nil
	w.truth.openEnded(o)
	if r.Err != nil {
		w.note("%-8s . user %d's open ends: %v", c.name, u.number, r.Err)
		w.truth.refused(o, r.Err)
		c.after(w.chance.between(10*time.Millisecond, time.Second), u.open)
		return
	}
	u.take(r.Session)
	if f := o.first; f != nil && !f.record.ended {
		f.session, f.record.session = r.Session, r.Session.Route().Session
		u.flying++
	}
	if o.once {
		u.left = 0
	}
}

// take makes a session the user's.
func (u *user) take(s *core.Session) {
	c, w := u.client, u.client.w
	w.note("%-8s . user %d has session %s", c.name, u.number, s.Route().Session)
	w.truth.routed(c, s.Route())
	u.session, u.left, u.flying, u.closing = s, w.chance.count(0, 12), 0, false
	c.after(0, u.act)
	if w.plan.attaches && w.chance.in(0.3) {
		c.after(w.chance.skewed(0, 2*time.Second), func() { u.handOver(s) })
	}
}

// handOver has some user, of this client or another, attach to a session.
func (u *user) handOver(s *core.Session) {
	w := u.client.w
	c := w.clients[w.chance.IntN(len(w.clients))]
	if !c.alive || s.Ended() != nil {
		return
	}
	by := c.users[w.chance.IntN(len(c.users))]
	token := s.Token()
	c.run(func() { by.attach(token) })
}

// attaching waits for one attach.
type attaching struct {
	user  *user
	ended bool
}

func (u *user) attach(token session.Token) {
	c, w := u.client, u.client.w
	if u.session != nil || u.opening != nil || u.attaching || w.now > w.plan.work {
		return
	}
	u.attaching = true
	w.truth.session(token.Session).moves++
	k := &attaching{user: u}
	w.note("%-8s . user %d attaches to %s", c.name, u.number, token.Session)
	c.step(func(fx *core.Effects) {
		if refused := c.core.Attach(c.now(), token, "", k, fx); refused != nil {
			w.fail("%s: an attach is refused before it is sent: %v", c.name, refused)
		}
	})
}

func (k *attaching) settle(r *core.Result) {
	u := k.user
	if k.ended {
		u.client.w.fail("%s: an attach ends twice", u.client.name)
		return
	}
	k.ended, u.attaching = true, false
	if r.Err != nil {
		u.client.w.note("%-8s . user %d's attach ends: %v", u.client.name, u.number, r.Err)
		u.client.after(10*time.Millisecond, u.open)
		return
	}
	u.take(r.Session)
}

// act makes the next call, or closes.
func (u *user) act() {
	c, w := u.client, u.client.w
	if u.session == nil || u.closing {
		return
	}
	if w.now > w.plan.work {
		u.left = 0
	}
	if u.left == 0 && w.plan.hold && w.now > w.plan.work-time.Second && w.now < w.plan.plateau() {
		c.after(w.plan.plateau()-w.now+time.Millisecond, u.act)
		return
	}
	if u.left == 0 || u.session.Ended() != nil {
		if u.flying > 0 && !w.chance.in(0.1) {
			return // the end of the last one comes back here
		}
		u.close()
		return
	}
	u.left--
	u.call()
	for w.plan.bursts && u.left > 0 && u.session.Ended() == nil && w.fate.in(0.7) {
		u.left--
		u.call()
	}
	next := w.chance.skewed(0, 300*time.Millisecond)
	if w.plan.idle > 0 && w.chance.in(0.1) {
		next = w.chance.between(0, 2*w.plan.idle)
	}
	if u.flying > 0 && w.chance.in(0.5) {
		return // wait for an end first
	}
	c.after(next, u.act)
}

// calling waits for one call.
type calling struct {
	user      *user
	session   *core.Session
	record    *callRecord
	opening   *opening // that it came along with
	abandoned bool
	step      uint64 // of its progress, the last one heard of
	drinking  *drinking
}

func (u *user) call() {
	c, w := u.client, u.client.w
	k := u.wish()
	call := &calling{user: u, session: u.session}
	call.record = w.truth.calling(c, u.session.Route().Session)
	k.id = call.record.id
	var deadline time.Time
	if w.plan.deadlines && w.chance.in(0.4) {
		deadline = c.now().Add(w.chance.skewed(time.Millisecond, 3*time.Second))
	}
	u.flying++
	w.note("%-8s . user %d calls: work %d", c.name, u.number, k.id)
	args := k.append(make([]byte, 0, workSize))
	ask := core.Ask{Method: "work", Args: args, Raw: true, Deadline: deadline, Tag: call}
	var feed *feeding
	if more := call.record.flows.argument; more >= 0 {
		feed = &feeding{k: call, flow: c.core.NewFlow(), left: swell(args, k.id, more)}
		ask.Flow, ask.Args = feed.flow, wire.AppendStream(nil, wire.Stream{Size: int64(len(feed.left))})
		if w.tides.in(0.3) {
			ask.Args = wire.AppendStream(nil, wire.Stream{Size: -1})
		}
	}
	c.step(func(fx *core.Effects) {
		if refused := c.core.Call(c.now(), u.session, &ask, fx); refused != nil {
			call.end(refused)
		}
	})
	if call.record.ended {
		return
	}
	if feed != nil {
		c.after(0, feed.turn)
	}
	if !deadline.IsZero() {
		c.after(deadline.Sub(c.now()), call.giveUp)
	}
	if w.plan.cancels && w.chance.in(0.3) {
		c.after(w.chance.skewed(0, 2*time.Second), call.giveUp)
	}
}

// wish chooses what a handler has to do.
func (u *user) wish() work {
	w := u.client.w
	k := work{takes: w.chance.skewed(0, 20*time.Millisecond), obeys: w.chance.in(0.7)}
	switch {
	case w.plan.long && w.chance.in(0.2):
		k.takes = w.chance.between(100*time.Millisecond, 3*time.Second)
	case w.plan.stuck && w.chance.in(0.05):
		k.takes, k.obeys = w.chance.between(4*time.Second, 12*time.Second), w.chance.in(0.3)
	case w.plan.panics && w.chance.in(0.05):
		k.how = howPanic
	case w.chance.in(0.1):
		k.how = howError
	}
	w.hangs(&k)
	return k
}

// cancelWait is how long package client waits for the worker's word on a call
// that was given up.
const cancelWait = 250 * time.Millisecond

// giveUp does what Session.Call does when its context ends.
func (k *calling) giveUp() {
	if k.record.ended {
		return
	}
	c := k.user.client
	c.w.note("%-8s . user %d gives work %d up", c.name, k.user.number, k.record.id)
	c.step(func(fx *core.Effects) { c.core.Cancel(c.now(), k.session, k, session.ErrCancelled, fx) })
	c.after(cancelWait, k.abandon)
}

func (k *calling) abandon() {
	if k.record.ended {
		return
	}
	c := k.user.client
	var n uint64
	var sent bool
	c.step(func(fx *core.Effects) { n, sent = c.core.Abandon(k.session, k, fx) })
	if n == 0 {
		c.w.fail("%s: work %d has not ended, and cannot be abandoned", c.name, k.record.id)
		return
	}
	k.abandoned = true
	e := &session.Error{Code: session.ErrCancelled, Outcome: session.NotRun, Call: n}
	if sent {
		e.Outcome = session.Unknown
	}
	k.end(e)
}

func (k *calling) settle(r *core.Result) {
	if k.abandoned {
		k.user.client.w.fail("%s: work %d ends again after it was abandoned: %v", k.user.client.name, k.record.id, r.Err)
		return
	}
	k.endsOpen()
	if r.Err != nil {
		k.end(r.Err)
		return
	}
	body := r.Body
	if r.Flow != nil {
		body = k.streamed(r.Flow)
	}
	k.user.client.w.truth.replied(k, body)
	k.next()
}

// endsOpen ends the open of a session for one call: the answer came instead of
// a route.
func (k *calling) endsOpen() {
	o := k.opening
	if o == nil || !o.once || o.ended {
		return
	}
	u := o.user
	o.ended, u.opening = true, nil
	u.client.w.truth.openEnded(o)
	u.client.after(u.client.w.chance.between(10*time.Millisecond, time.Second), u.open)
}

// end takes the end of a call that brought no reply.
func (k *calling) end(err *session.Error) {
	k.user.client.w.truth.callFailed(k, err)
	k.next()
}

func (k *calling) next() {
	u := k.user
	if k.session != nil && u.session == k.session {
		u.flying--
		u.client.after(u.client.w.chance.skewed(0, 100*time.Millisecond), u.act)
	}
}

// closing waits for one close.
type closing struct {
	user  *user
	ended bool
}

func (u *user) close() {
	c, w := u.client, u.client.w
	u.closing = true
	k := &closing{user: u}
	s := u.session
	w.note("%-8s . user %d closes %s", c.name, u.number, s.Route().Session)
	c.step(func(fx *core.Effects) { c.core.Close(c.now(), s, k, fx) })
}

func (k *closing) settle(*core.Result) {
	u := k.user
	if k.ended {
		u.client.w.fail("%s: a close ends twice", u.client.name)
		return
	}
	k.ended = true
	u.session, u.closing = nil, false
	u.client.after(u.client.w.chance.between(0, time.Second), u.open)
}
