package sim

import (
	"fmt"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// nodePart is a node process. Started again it is another node.
type nodePart struct {
	process
	id    session.NodeID
	core  *core.Core
	fx    core.Effects
	links map[wire.Peer]*link
	seats map[seat]*task // who holds a slot, as the slots themselves see it
}

// seat is one slot of one pool.
type seat struct {
	pool string
	slot int
}

func (n *nodePart) proc() *process { return &n.process }

func (w *World) newNode(name string) *nodePart {
	n := &nodePart{process: process{w: w, name: name}}
	n.boot()
	return n
}

// boot begins a life, as a new node.
func (n *nodePart) boot() {
	w := n.w
	n.id = session.NodeID(w.chance.Uint64() | 1)
	cfg := core.Config{Node: n.id, Name: n.name, Host: n.name, PID: 1, Tick: tick}
	for _, pool := range w.pools() {
		cfg.Pools = append(cfg.Pools, core.Pool{Name: pool, Slots: w.plan.slots, Limits: session.Limits{
			Lease: w.plan.lease, Idle: w.plan.idle, MaxAge: w.plan.maxAge, Window: w.plan.window,
		}})
	}
	n.core = core.New(n.now(), cfg, w.chance)
	n.links, n.seats = map[wire.Peer]*link{}, map[seat]*task{}
	n.fx.Reset()
	w.truth.born(n)
	n.start(n.turn)
	w.note("%-8s + starts as node %s", n.name, n.id)
	for i, b := range w.brokers {
		peer := wire.Peer(i + 1)
		n.links[peer] = w.connect(n, b, peer)
		n.core.AddBroker(n.now(), peer, &n.fx)
	}
	n.apply()
}

func (n *nodePart) crash() {
	n.w.note("%-8s ! crashes", n.name)
	n.w.truth.died(n)
	n.die()
	for _, l := range n.links {
		l.reset()
	}
}

func (n *nodePart) receive(from wire.Peer, env []byte) {
	n.w.note("%-8s < %-4d       %s", n.name, from, env)
	n.fx.Reset()
	n.core.Step(n.now(), from, env, &n.fx)
	n.apply()
}

func (n *nodePart) turn() {
	n.fx.Reset()
	n.core.Tick(n.now(), &n.fx)
	n.apply()
}

// apply carries out what the core asked for, in the order of the runtime.
func (n *nodePart) apply() {
	w := n.w
	for _, o := range n.fx.Outs {
		l := n.links[o.To]
		if l == nil {
			w.fail("%s sends to peer %d, which it does not have: %s", n.name, o.To, describe(o.Env))
			continue
		}
		w.note("%-8s > %-8s   %s", n.name, l.at.name, o.Env)
		l.send(w.keep(o.Env))
	}
	for i := range n.fx.Events {
		e := &n.fx.Events[i]
		w.note("%-8s * %s %s %s %s", n.name, e.What, e.Session, e.Code, e.Text)
		switch e.What {
		case core.EventBad:
			w.truth.bad(n.name, e.Code, e.Text)
		case core.EventEnded:
			w.truth.ended(e.Session, e.Code)
		}
	}
	for _, s := range n.fx.Start {
		n.begin(s)
	}
	for _, r := range n.fx.Run {
		taskOf(r.Session).hand(r.Call)
	}
	for _, x := range n.fx.Cancel {
		s := x.Session
		taskOf(s).cancel()
	}
	for _, s := range n.fx.Stop {
		taskOf(s.Session).halt(s.Why)
	}
	w.auditNode(n)
}

// begin puts a session's goroutine on its slot, which must be free.
func (n *nodePart) begin(s *core.Session) {
	at := seat{s.Pool(), s.Worker()}
	if other := n.seats[at]; other != nil {
		n.w.fail("%s: slot %d of pool %s is given to session %s while session %s holds it", n.name, at.slot, at.pool, s.ID(), other.session.ID())
	}
	t := newTask(n, s)
	n.seats[at] = t
	n.w.truth.begun(n, s)
	t.open()
}

// step runs a step of the core on behalf of a session's goroutine.
func (n *nodePart) step(f func(fx *core.Effects)) {
	n.fx.Reset()
	f(&n.fx)
	n.apply()
}

func (n *nodePart) String() string { return fmt.Sprintf("%s (%s)", n.name, n.id) }
