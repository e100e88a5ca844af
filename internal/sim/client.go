package sim

import (
	"bytes"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/wire"
)

// clientPart is a client process. One that crashes never comes back.
type clientPart struct {
	process
	id      uuid.UUID
	core    *core.Core
	fx      core.Effects
	links   []*link // peer n is links[n-1]
	users   []*user
	died    time.Duration // when it crashed
	arrived fleeting      // the reply that is looked at
}

func (c *clientPart) proc() *process { return &c.process }

func (w *World) newClient() *clientPart {
	c := &clientPart{process: process{w: w, name: fmt.Sprintf("client%d", len(w.clients)+1)}}
	c.id, _ = uuid.NewRandomFromReader(w.chance)
	c.core = core.New(core.Config{ID: c.id, Name: c.name, Tick: tick, Credit: w.flowBound(flowCredit), Road: w.flowBound(flowRoad)}, w.chance)
	c.start(c.turn)
	w.note("%-8s + starts as %s", c.name, c.id)
	for i, b := range w.brokers {
		peer := wire.Peer(i + 1)
		c.links = append(c.links, w.connect(c, b, peer))
		c.core.AddBroker(c.now(), peer, &c.fx)
	}
	c.apply()
	if w.plan.casts {
		c.after(w.casts.between(0, 2*time.Second), c.broadcast)
	}
	for range w.plan.users {
		u := &user{client: c, number: len(c.users)}
		c.users = append(c.users, u)
		c.after(w.chance.between(0, time.Second), u.open)
	}
	return c
}

func (c *clientPart) crash() {
	c.w.note("%-8s ! crashes", c.name)
	c.w.truth.abandonedBy(c)
	c.died = c.w.now
	c.die()
	for _, l := range c.links {
		l.reset()
	}
}

func (c *clientPart) receive(from wire.Peer, env []byte) {
	if c.w.history != nil {
		c.w.note("%-8s < %-4d       %s", c.name, from, env)
	}
	mem := newFlood(&c.held)
	defer mem.Drop()
	if wire.KindOf(env) == wire.KindReply {
		env = c.arrived.take(env)
		defer c.arrived.spoil()
	}
	c.step(func(fx *core.Effects) { c.core.StepIn(c.now(), from, env, mem, fx) })
}

func (c *clientPart) renewed(peer wire.Peer) {
	c.step(func(fx *core.Effects) { c.core.Renewed(c.now(), peer, fx) })
}

func (c *clientPart) turn() {
	c.step(func(fx *core.Effects) { c.core.Tick(c.now(), fx) })
}

// step runs a step of the core and hands out what it brought.
func (c *clientPart) step(f func(fx *core.Effects)) {
	c.fx.Reset()
	f(&c.fx)
	c.apply()
}

// apply sends, and wakes whoever waited. Who was woken acts later: the core is
// not entered again from here.
func (c *clientPart) apply() {
	for _, o := range c.fx.Outs {
		c.send(o.To, o.Env)
	}
	for i := range c.fx.Chunks {
		o := &c.fx.Chunks[i]
		c.send(o.To, append(o.Head.Append(nil), o.Body...))
		if o.Mem != nil {
			o.Mem.Drop()
		}
	}
	c.wake(c.fx.Wake)
	for _, b := range c.fx.Begun {
		b.Tag.(*calling).begun(b.Flow)
	}
	for _, d := range c.fx.Dials {
		c.after(0, func() { c.dial(d) })
	}
	for _, peer := range c.fx.Hangups {
		c.links[peer-1].hangUp()
	}
	for i := range c.fx.Answers {
		a := c.fx.Answers[i]
		a.Tag.(*casting).take(&a)
	}
	for i := range c.fx.Results {
		r := c.fx.Results[i]
		if r.Lent {
			r.Body = bytes.Clone(r.Body)
		}
		r.Tag.(waiter).settle(&r)
	}
	for _, step := range c.fx.Steps {
		if _, n, ok := parseReply(step.Body); ok {
			c.w.truth.step(step.Tag.(*calling), n)
		}
	}
	for i := range c.fx.Events {
		e := &c.fx.Events[i]
		if c.w.history != nil {
			c.w.note("%-8s * %s %s %s", c.name, e.What, e.Code, e.Text)
		}
		if e.What == core.EventBad {
			c.w.truth.bad(c.name, e.Code, e.Text)
		}
	}
	c.w.auditClient(c)
}

func (c *clientPart) send(to wire.Peer, env []byte) {
	l := dialled(c.links, to)
	if l == nil {
		c.w.fail("%s sends to peer %d, which it does not have: %s", c.name, to, describe(env))
		return
	}
	if c.w.history != nil {
		c.w.note("%-8s > %-8s   %s", c.name, l.at.proc().name, env)
	}
	l.send(c.w.keep(env))
}

// dial connects to a node, which may not be the one that it is said to be.
func (c *clientPart) dial(d core.Dial) {
	peer := wire.Peer(0)
	if n := c.w.listensAt(d.Endpoint); n != nil {
		peer = wire.Peer(len(c.links) + 1)
		c.links = append(c.links, c.w.connect(c, n, peer))
	}
	c.step(func(fx *core.Effects) { c.core.Dialled(c.now(), d.Node, peer, fx) })
}

// waiter is whoever waits for the end of an open, a call or a close.
type waiter interface{ settle(r *core.Result) }
