package core

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/assigner"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

type openState uint8

const (
	openQueued openState = iota
	openOffered
	openOver // neither any more; it has left Core.opens
)

// open is the record of one open until there is a session for it.
type open struct {
	key       session.OpenKey
	state     openState
	client    *client
	ask       assigner.Request
	limits    wire.Limits
	arrived   time.Time
	notify    bool
	withdrawn bool // its client is gone: whatever comes of it is taken back
	named     bool // a node said that it starts there: no offer of it is repeated
	unasked   bool // and its client has not been heard of here
	node      *node
	size      int            // bytes that came along
	again     time.Time      // when the offer is repeated
	try       uint32         // how often it has come back from a node
	first     bool           // a call came along
	call      along          // what that is
	grant     assigner.Grant // while offered
	listed    int            // how often it is in Core.offered
}

// along is a call that comes along with an open.
type along struct {
	method           string
	args             []byte
	raw, once        bool
	budget, patience uint32
	trace            []byte
}

// open takes a client's wish for a worker. A repeated one is answered with
// what became of the first.
func (c *Core) open(now time.Time, from wire.Peer, m *wire.Open, fx *Effects) {
	key := session.OpenKey{Client: m.Client, Request: m.Request}
	if p, over := c.past.find(key); over {
		c.answerPast(from, m, p, fx)
		return
	}
	cl, err := c.client(m.Client, from)
	if err != nil {
		c.refuse(from, key, session.ErrOverloaded, err.Error(), fx)
		return
	}
	if l := c.taken[key]; l != nil {
		c.tellRoute(l, fx)
		return
	}
	if o := c.opens[key]; o != nil {
		if o.unasked {
			o.asked(c.demand(now, m))
			c.carried += o.size
		}
		c.tellPlace(o, fx) // an offer's answer will come by itself
		return
	}
	if c.cannotKnow(now, from, m, fx) {
		c.forget(cl)
		return
	}
	if c.draining {
		c.refuse(from, key, session.ErrDraining, "the broker is shutting down", fx)
		c.forget(cl)
		return
	}
	c.take(now, from, m, cl, fx)
}

// take gives a new open a slot, or its place in the queue.
func (c *Core) take(now time.Time, from wire.Peer, m *wire.Open, cl *client, fx *Effects) {
	o := c.demand(now, m)
	o.client = cl
	key := o.key
	if c.carried+o.size > c.cfg.Carried {
		c.counts.Overloaded++
		c.refuse(from, key, session.ErrOverloaded, "the opens that wait carry as many bytes as they may", fx)
		c.forget(cl)
		return
	}
	g, granted := c.atOnce(now, o)
	if !granted {
		if err := c.ask(now, o); err != nil {
			code, text := c.why(m, err)
			c.refuse(from, key, code, text, fx)
			c.forget(cl)
			return
		}
	}
	c.opens[key] = o
	cl.waiting++
	c.carried += o.size
	c.counts.Opens++
	if granted {
		c.offer(now, o, g, fx)
		return
	}
	c.pump(now, fx)
	c.tellPlace(o, fx)
}

// atOnce gives an open a slot where nobody is before it.
func (c *Core) atOnce(now time.Time, o *open) (assigner.Grant, bool) {
	if c.outdated() {
		return assigner.Grant{}, false
	}
	return c.table.Now(now, o.ask)
}

// demand is the record of what an Open asks for.
func (c *Core) demand(now time.Time, m *wire.Open) *open {
	wait := time.Duration(m.Wait) * time.Millisecond
	if wait <= 0 {
		wait = DefaultWait
	}
	o := c.newOpen()
	o.key = session.OpenKey{Client: m.Client, Request: m.Request}
	o.limits, o.arrived, o.notify = m.Limits, now, m.Notify
	o.ask.OpenKey, o.ask.Pool, o.ask.Labels, o.ask.Want, o.ask.Priority = o.key, m.Pool, m.Labels, m.Want, int(m.Priority)
	o.ask.Deadline = now.Add(min(wait, c.cfg.MaxWait))
	if o.first = m.Method != ""; o.first {
		k := &o.call
		k.method, k.raw, k.budget, k.patience, k.once = m.Method, m.Raw, m.Budget, m.Patience, m.Once
		k.args = append(k.args, m.Args...) // which are the message's
		if o.size = len(m.Args); len(m.Trace) > 0 {
			k.trace = bytes.Clone(m.Trace)
		}
	}
	return o
}

// knowMargin is by how much an open may be older than it says: the time its
// copy was on the way.
const knowMargin = 2 * time.Second

// cannotKnow answers a repeated open that this broker knows nothing of although
// it may have been taken before: by the broker that was here before, by
// another one, or by this one too long ago. While nodes may come back it is
// put off; after that one that carried a call ends as unknown, for a second
// run is the one thing that must not be.
func (c *Core) cannotKnow(now time.Time, from wire.Peer, m *wire.Open, fx *Effects) bool {
	mine := m.Broker == c.cfg.ID && m.Epoch == c.cfg.Epoch
	others := m.Broker != uuid.Nil && !mine // it was sent to the broker before, and may have been on its way for long
	if m.Since == 0 && !m.Moved && !others {
		return false
	}
	key := session.OpenKey{Client: m.Client, Request: m.Request}
	sent := now.Add(-time.Duration(m.Since)*time.Millisecond - knowMargin)
	if !m.Moved && !others && (mine || sent.After(c.started)) && sent.After(c.past.horizon) {
		return false // it would be known: the copies before were lost on the way here
	}
	switch {
	case !c.knowsOpens(now):
		c.refuse(from, key, session.ErrRecovering, "nodes may not be back yet", fx)
	case m.Method != "":
		fx.Control(from, &wire.Refused{
			Request: m.Request, Code: session.ErrWorkerLost, Unknown: true,
			Text: "the broker that took this open is gone, and no node knows it",
		})
		c.past.add(now, pastOpen{key: key, code: session.ErrWorkerLost, unknown: true}, nil, nil)
	default:
		return false
	}
	return true
}

// answerPast answers a copy of an open that is over. One whose call was done
// gets its route once more, so that its client can ask for the reply.
func (c *Core) answerPast(from wire.Peer, m *wire.Open, p pastOpen, fx *Effects) {
	if p.routed {
		fx.Control(from, c.route(c.past.leaseOf(p)))
		return
	}
	fx.Control(from, &wire.Refused{
		Request: m.Request, Code: p.code, Text: "this open is over", Unknown: m.Method != "" && p.unknown,
	})
}

// expectMost bounds the pools that are waited for while recovering.
const expectMost = 1024

// ask puts an open into the queue. While the broker recovers, a pool that
// nobody serves may only not be back yet.
func (c *Core) ask(now time.Time, o *open) error {
	err := c.table.Ask(now, o.ask)
	if errors.Is(err, assigner.ErrPoolUnknown) && c.Recovering(now) && len(c.expected) < expectMost {
		c.table.Expect(o.ask.Pool)
		c.expected[o.ask.Pool] = true
		err = c.table.Ask(now, o.ask)
	}
	return err
}

// expectNoMore refuses, once the broker has recovered, the opens of pools that
// were waited for in vain.
func (c *Core) expectNoMore(now time.Time, fx *Effects) {
	if len(c.expected) == 0 || c.Recovering(now) {
		return
	}
	for _, pool := range slices.Sorted(maps.Keys(c.expected)) {
		for _, r := range c.table.Desert(pool) {
			o := c.opens[r.OpenKey]
			c.refuse(o.client.peer, o.key, session.ErrPoolUnknown, fmt.Sprintf("no node serves a pool %q", pool), fx)
			c.finish(now, o, session.ErrPoolUnknown)
		}
	}
	clear(c.expected)
}

// why translates an assigner's refusal for the client.
func (c *Core) why(m *wire.Open, err error) (session.Code, string) {
	switch {
	case errors.Is(err, assigner.ErrPoolUnknown):
		return session.ErrPoolUnknown, fmt.Sprintf("no node serves a pool %q", m.Pool)
	case errors.Is(err, assigner.ErrNoSuchLabels):
		return session.ErrLabelsUnknown, fmt.Sprintf("no worker of pool %q has all the labels asked for", m.Pool)
	case errors.Is(err, assigner.ErrNoValues):
		return session.ErrLabelsUnknown, fmt.Sprintf("no value can be wanted of pool %q: its policy is not %s", m.Pool, assigner.Equal)
	case errors.Is(err, assigner.ErrQueueFull):
		c.counts.Overloaded++
		return session.ErrOverloaded, fmt.Sprintf("the queue of pool %q is full", m.Pool)
	}
	return session.ErrBadMessage, err.Error()
}

func (c *Core) refuse(to wire.Peer, key session.OpenKey, code session.Code, text string, fx *Effects) {
	if to != 0 {
		fx.Control(to, &wire.Refused{Request: key.Request, Code: code, Text: wire.Text(text)})
	}
}

func (c *Core) tellPlace(o *open, fx *Effects) {
	if o.state != openQueued || !o.notify || o.client.peer == 0 {
		return
	}
	if place, ok := c.table.Place(o.key); ok {
		fx.Control(o.client.peer, &wire.Queued{Request: o.key.Request, Place: uint32(min(place, 1<<31))})
	}
}

// pump offers what can be placed.
func (c *Core) pump(now time.Time, fx *Effects) {
	if c.outdated() {
		return
	}
	for _, g := range c.table.Grants(now) {
		c.granted(now, g, fx)
	}
}

// granted offers an open to the node that it was given a slot of.
func (c *Core) granted(now time.Time, g assigner.Grant, fx *Effects) {
	c.offer(now, c.opens[g.OpenKey], g, fx)
}

func (c *Core) offer(now time.Time, o *open, g assigner.Grant, fx *Effects) {
	n := c.nodes[g.Node]
	o.state, o.node, o.grant = openOffered, n, g
	n.offers[o.key] = o
	c.sendOffer(now, o, fx)
	c.repeatLater(o)
}

func (c *Core) sendOffer(now time.Time, o *open, fx *Effects) {
	o.again = now.Add(offerAgain)
	if o.node.peer == 0 { // it has had the offer, and gets it again once it is back
		return
	}
	m := &c.said.offer
	*m = wire.Offer{Epoch: c.cfg.Epoch, Client: o.key.Client, Request: o.key.Request, Pool: o.ask.Pool, Limits: o.limits, Try: o.try}
	if k := &o.call; k.method != "" {
		m.Method, m.Args, m.Raw, m.Patience, m.Once, m.Trace, m.Via = k.method, k.args, k.raw, k.patience, k.once, k.trace, o.client.peer
		if k.budget > 0 {
			m.Budget = max(k.budget-min(wire.Millis(now.Sub(o.arrived)), k.budget), 1)
		}
	}
	fx.Control(o.node.peer, m)
}

// repeatOffers sends offers again that nobody has answered. The list is in
// order of time, for every repetition puts its offer at the end.
func (c *Core) repeatOffers(now time.Time, fx *Effects) {
	for len(c.offered) > 0 {
		o := c.offered[0]
		if o.state == openOffered && now.Before(o.again) {
			return
		}
		c.unlist()
		if o.state == openOffered {
			if o.withdrawn { // the offer behind it only asks for the answer
				c.revoke(o.node, o.key, session.ErrWithdrawn, fx)
			}
			c.sendOffer(now, o, fx)
			c.repeatLater(o)
		}
	}
}

// withdraw takes an open back, in whatever state it is.
func (c *Core) withdraw(now time.Time, from wire.Peer, m *wire.Withdraw, fx *Effects) {
	key := session.OpenKey{Client: m.Client, Request: m.Request}
	if cl := c.clients[m.Client]; cl != nil && cl.peer != from && cl.peer != 0 {
		c.bad(from, wire.KindWithdraw, m.Request, session.ErrBadMessage, errors.New("withdraw of another client's open"), fx)
		return
	}
	var maybe bool // a call that came along may have run
	if o := c.opens[key]; o != nil {
		maybe = o.first && o.state == openOffered
		c.drop(now, o, session.ErrWithdrawn, fx)
	} else if l := c.taken[key]; l != nil {
		maybe = true
		c.takeBack(l, session.ErrWithdrawn, fx)
	} else if p, over := c.past.find(key); over {
		maybe = p.unknown || p.routed
	} else { // it may have overtaken its open
		maybe = true
		c.past.add(now, pastOpen{key: key, code: session.ErrWithdrawn, unknown: true}, nil, nil)
	}
	fx.Control(from, &wire.Refused{Request: m.Request, Code: session.ErrWithdrawn, Unknown: maybe})
}

// drop ends an open that nobody waits for any more.
func (c *Core) drop(now time.Time, o *open, code session.Code, fx *Effects) {
	switch o.state {
	case openQueued:
		c.table.Withdraw(o.key)
		c.finish(now, o, code)
	case openOffered: // its slot is taken until the node says otherwise
		if !o.withdrawn {
			o.withdrawn = true
			c.revoke(o.node, o.key, code, fx)
		}
	case openOver:
	}
}

// takeBack ends a session whose client does not want it.
func (c *Core) takeBack(l *lease, code session.Code, fx *Effects) {
	c.revoke(l.node, l.key(), code, fx)
}

func (c *Core) revoke(n *node, key session.OpenKey, code session.Code, fx *Effects) {
	if n.peer != 0 {
		fx.Control(n.peer, &wire.Revoke{Epoch: c.cfg.Epoch, Client: key.Client, Request: key.Request, Code: code})
	}
}

// expire tells a client that its wait is over.
func (c *Core) expire(now time.Time, r assigner.Request, fx *Effects) {
	o := c.opens[r.OpenKey]
	if o == nil {
		return
	}
	c.counts.Expired++
	c.refuse(o.client.peer, o.key, session.ErrNoWorker,
		fmt.Sprintf("no slot of pool %q came free within %s", r.Pool, now.Sub(o.arrived).Round(time.Millisecond)), fx)
	c.finish(now, o, session.ErrNoWorker)
}

// finish forgets an open that holds neither a queue place nor a slot, and
// remembers that it is over.
func (c *Core) finish(now time.Time, o *open, code session.Code) {
	if o.node != nil {
		delete(o.node.offers, o.key)
	}
	c.leave(o)
	c.past.add(now, pastOpen{key: o.key, code: code}, nil, nil)
	c.forget(o.client)
}

// leave takes an open out of everything that waits for it.
func (c *Core) leave(o *open) {
	o.client.waiting--
	c.carried -= o.size
	o.size = 0
	o.state = openOver // so that nothing repeats it
	delete(c.opens, o.key)
}

// opensOf returns a client's opens that wait or are on offer, oldest first.
func (c *Core) opensOf(cl *client) []*open {
	var list []*open
	for _, o := range c.opens {
		if o.client == cl {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b *open) int {
		if d := a.arrived.Compare(b.arrived); d != 0 {
			return d
		}
		return slices.Compare(a.key.Request[:], b.key.Request[:])
	})
	return list
}
