package sim

import (
	"fmt"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// nodePart is a node process. Started again it is another node.
type nodePart struct {
	process
	id      session.NodeID
	host    string
	core    *core.Core
	fx      core.Effects
	links   []*link // peer n is links[n-1]
	direct  callers
	seats   map[seat]*task // who holds a slot, as the slots themselves see it
	lanes   map[seat]*task // what runs on each lane
	record  *startRecord   // nil where none is kept
	known   uint64         // the highest epoch that a master has shown it
	arrived fleeting       // the call that is looked at

	drains  bool
	changed time.Duration // when a slot was last taken or given back
}

// seat is one slot of one pool.
type seat struct {
	pool string
	slot int
}

func (n *nodePart) proc() *process { return &n.process }

func (w *World) newNode(name string) *nodePart {
	n := &nodePart{process: process{w: w, name: name}, host: w.host()}
	n.boot()
	return n
}

// boot begins a life, as a new node.
func (n *nodePart) boot() {
	w := n.w
	n.id = session.NodeID(w.chance.Uint64() | 1)
	cfg := core.Config{Node: n.id, Name: n.name, Host: n.host, PID: 1, Tick: tick, Endpoint: w.endpointOf(n), Credit: w.flowBound(flowCredit), Road: w.flowBound(flowRoad)}
	lends := map[string]bool{"work": w.plan.slots%2 == 1} // its argument is one that the core uses again, or not
	for _, pool := range w.pools() {
		cfg.Pools = append(cfg.Pools, core.Pool{Name: pool, Slots: w.plan.slots, Lanes: w.plan.lanes, Bare: w.plan.bare, Budget: w.plan.budget, Lends: lends, Stall: w.plan.stall, Limits: session.Limits{
			Lease: w.plan.lease, Idle: w.plan.idle, MaxAge: w.plan.maxAge, Window: w.plan.window,
		}})
	}
	w.sized(&cfg)
	n.core = core.New(n.now(), cfg, w.chance)
	n.links, n.seats, n.lanes, n.record = nil, map[seat]*task{}, map[seat]*task{}, n.newRecord()
	n.known = 0
	n.drains, n.changed = false, w.now
	n.fx.Reset()
	w.truth.born(n)
	n.start(n.turn)
	n.say()
	w.note("%-8s + starts as node %s", n.name, n.id)
	for i, b := range w.brokers {
		peer := wire.Peer(i + 1)
		n.links = append(n.links, w.connect(n, b, peer))
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
	n.fallDirect()
	if n.record != nil {
		n.w.leaveBehind(n.record)
	}
}

func (n *nodePart) receive(from wire.Peer, env []byte) {
	if n.w.history != nil {
		n.w.note("%-8s < %-4d       %s", n.name, from, env)
	}
	older := from < callersFrom && n.heardOf(env)
	n.fx.Reset()
	mem := newFlood(&n.held)
	defer mem.Drop()
	in := env
	if wire.KindOf(env) == wire.KindCall {
		in = n.arrived.take(env)
		defer n.arrived.spoil()
	}
	n.core.StepIn(n.now(), from, in, mem, &n.fx)
	if older {
		n.disobeys(env)
	}
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
	for _, s := range n.fx.Start {
		n.begin(s)
	}
	for _, s := range n.fx.Open {
		taskOf(s).open()
	}
	for _, o := range n.fx.Outs {
		n.send(o)
	}
	for i := range n.fx.Chunks {
		o := &n.fx.Chunks[i]
		n.send(wire.Out{To: o.To, Env: append(o.Head.Append(nil), o.Body...)})
		if o.Mem != nil {
			o.Mem.Drop()
		}
	}
	n.wake(n.fx.Wake)
	for i := range n.fx.Events {
		n.happened(&n.fx.Events[i])
	}
	for _, r := range n.fx.Run {
		taskOf(r.Session).hand(r)
	}
	for _, e := range n.fx.Errands {
		n.aside(e)
	}
	for _, c := range n.fx.Cancel {
		n.cancel(c)
	}
	for _, q := range n.fx.Quarantine {
		n.strand(taskOf(q.Session)) // before slots are given up
	}
	for _, s := range n.fx.Stop {
		if taskOf(s.Session).halt(s.Why); s.Over {
			taskOf(s.Session).leave()
		}
	}
	for _, h := range n.fx.Hung {
		n.examine(h)
	}
	for _, q := range n.fx.Quarantine {
		w.truth.condemned(taskOf(q.Session))
	}
	n.resized()
	if d := n.fx.Drain; d != nil {
		n.drain(d.Deadline)
	}
	w.auditNode(n)
}

// cancel ends the context of a call, or of an errand.
func (n *nodePart) cancel(c core.Cancel) {
	switch {
	case c.Errand == nil:
		taskOf(c.Session).cancel(c.Number)
	case c.Session == nil:
		c.Errand.Task.(*errand).cancel()
	default:
		taskOf(c.Session).recall(c.Errand)
	}
}

func (n *nodePart) happened(e *core.Event) {
	w := n.w
	if w.history != nil {
		w.note("%-8s * %s %s %s %s", n.name, e.What, e.Session, e.Code, e.Text)
	}
	switch e.What {
	case core.EventBad:
		w.truth.bad(n.name, e.Code, e.Text)
	case core.EventEnded:
		w.truth.ended(e.Session, e.Code, e.Text)
	}
}

func (n *nodePart) send(o wire.Out) {
	w, l := n.w, dialled(n.links, o.To)
	switch {
	case l == nil && o.To > callersFrom:
		n.answer(o)
		return
	case l == nil:
		w.fail("%s sends to peer %d, which it does not have: %s", n.name, o.To, describe(o.Env))
		return
	case w.history != nil:
		w.note("%-8s > %-8s   %s", n.name, l.at.proc().name, o.Env)
	}
	n.claim(o.Env)
	l.send(w.keep(o.Env))
}

// claim has the truth judge what the node says of a session.
func (n *nodePart) claim(env []byte) {
	if k := wire.KindOf(env); k != wire.KindAccept && k != wire.KindAnswer {
		return
	}
	said, _ := wire.ParseControl(env)
	switch m := said.(type) {
	case *wire.Accept:
		n.w.truth.claimed(&m.Live)
	case *wire.Answer:
		n.judgeAnswer(m)
	}
}

// drain takes nothing new, lets sessions go on until the deadline, ends those
// that are left, and starts a new life: the new version.
func (n *nodePart) drain(deadline time.Duration) {
	if n.drains {
		return
	}
	n.drains = true
	n.w.note("%-8s ! drains", n.name)
	n.core.Drain()
	if deadline > 0 {
		n.after(deadline, func() {
			n.step(func(fx *core.Effects) {
				n.core.EndAll(n.now(), session.ErrSessionDrained, "the node is shutting down", fx)
			})
		})
	}
	n.leaveWhenEmpty()
}

// leaveWhenEmpty ends the process once nothing is held, a moment later, so
// that what it sent last is on its way, as the runtime's linger does.
func (n *nodePart) leaveWhenEmpty() {
	n.after(50*time.Millisecond, func() {
		if n.core.Held()+n.core.Errands() > 0 {
			n.leaveWhenEmpty()
			return
		}
		n.w.truth.left(n) // from here on its answers may come too late
		n.step(n.core.Leave)
		n.after(n.w.plan.delay+n.w.plan.jitter+time.Millisecond, n.leave)
	})
}

func (n *nodePart) leave() {
	n.w.note("%-8s - ends", n.name)
	n.w.truth.left(n)
	n.die()
	for _, l := range n.links {
		l.reset()
	}
	n.fallDirect()
	n.w.after(n.w.chance.between(0, 2*time.Second), func() {
		if !n.alive {
			n.boot()
		}
	})
}

// begin puts a session's goroutine on its slot, which must be free.
func (n *nodePart) begin(s *core.Session) {
	at := seat{s.Pool(), s.Worker()}
	if other := n.seats[at]; other != nil {
		n.w.fail("%s: slot %d of pool %s is given to session %s while session %s holds it", n.name, at.slot, at.pool, s.ID(), other.session.ID())
	}
	t := newTask(n, s)
	n.seats[at] = t
	n.changed = n.w.now
	n.w.truth.begun(n, s)
	if n.w.plan.lanes == 0 {
		t.open()
	}
}

// step runs a step of the core on behalf of a session's goroutine.
func (n *nodePart) step(f func(fx *core.Effects)) {
	n.fx.Reset()
	f(&n.fx)
	n.apply()
}

func (n *nodePart) String() string { return fmt.Sprintf("%s (%s)", n.name, n.id) }
