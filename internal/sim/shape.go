package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/assigner"
	brokercore "github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// In some worlds pools have a policy of their own, which may look at a value that
// their nodes say and change, and in some they grow and shrink. What concerns
// that draws from a stream of its own, so that worlds without it are what they
// were.

// shape chooses what pools name for their placement, and how far they grow.
func (p *plan) shape(c chance) {
	if c.in(0.2) {
		policies := []assigner.Policy{assigner.Equal, assigner.Equal, assigner.Lowest, assigner.RoundRobin}
		p.policy = policies[c.IntN(len(policies))].String()
	}
	if c.in(0.2) {
		p.grows = c.count(1, 4)
		p.shared = p.pools > 1 && c.in(0.5)
	}
}

// described is one line of what shape has chosen, empty for nothing.
func (p *plan) described() (s string) {
	if p.policy != "" {
		s += ", placed by " + p.policy
	}
	if p.grows > 0 {
		s += fmt.Sprintf(", pools of 1 to %d slots", p.slots+p.grows)
	}
	if p.shared {
		s += " that they share"
	}
	return s
}

// sized gives the pools of a node their policy and bounds.
func (w *World) sized(cfg *core.Config) {
	for i := range cfg.Pools {
		p := &cfg.Pools[i]
		if p.Policy = w.plan.policy; p.Policy != "" {
			p.Valued = true
		}
		if w.plan.grows > 0 {
			p.Least, p.Most = 1, p.Slots+w.plan.grows
			p.GrowAfter, p.ShrinkAfter = 200*time.Millisecond, 2*time.Second
		}
		if w.plan.shared {
			cfg.Shared += p.Slots + w.plan.grows/2
		}
	}
}

// value is one that nodes say and opens want.
func (w *World) value() string { return []string{"1", "2"}[w.shaping.IntN(2)] }

// want is what an open asks for, mostly nothing.
func (w *World) want() string {
	if w.plan.policy != assigner.Equal.String() || w.shaping.in(0.4) {
		return ""
	}
	return w.value()
}

// say has a node change what it says of itself, now and then.
func (n *nodePart) say() {
	w := n.w
	if w.plan.policy == "" {
		return
	}
	for _, pool := range w.pools() {
		if err := n.core.Say(pool, w.value()); err != nil {
			w.fail("%s: %w", n.name, err)
		}
	}
	n.after(w.shaping.between(300*time.Millisecond, 6*time.Second), n.say)
}

// resized notes the pools that have other slots now, and that no session was on
// one of those that are gone.
func (n *nodePart) resized() {
	for _, r := range n.fx.Resized {
		n.changed = n.w.now
		held := 0
		for at := range n.seats {
			if at.pool == r.Pool {
				held++
			}
		}
		n.w.note("%-8s * pool %s has %d slots, %d held", n.name, r.Pool, r.Slots, held)
		if held > r.Slots || r.Slots < 1 || r.Slots > n.w.plan.slots+n.w.plan.grows {
			n.w.fail("%s: pool %s has %d slots, and %d sessions", n.name, r.Pool, r.Slots, held)
		}
	}
}

// sayings are what one broker was told of its nodes' values, in one life: what
// the last word on each is or, where it may not have been taken, may be.
type sayings struct {
	at     map[wire.Peer]session.NodeID
	unsure map[session.NodeID]bool
	values map[session.NodeID]map[string][]string // by pool
	wants  map[session.OpenKey]string
	judged map[session.OpenKey]uint32 // the try of its last offer, and one
	placed map[session.NodeID]time.Duration
}

func newSayings() sayings {
	return sayings{
		at: map[wire.Peer]session.NodeID{}, unsure: map[session.NodeID]bool{}, values: map[session.NodeID]map[string][]string{},
		wants: map[session.OpenKey]string{}, judged: map[session.OpenKey]uint32{},
		placed: map[session.NodeID]time.Duration{},
	}
}

// said takes one word; one that is sure takes the place of those before.
func (s *sayings) said(n session.NodeID, pool, value string, sure bool) {
	if s.values[n] == nil {
		s.values[n] = map[string][]string{}
	}
	if sure {
		s.values[n][pool] = nil
	}
	s.values[n][pool] = append(s.values[n][pool], value)
}

// watchSay takes what a broker is about to hear of wants and values.
func (b *brokerPart) watchSay(from wire.Peer, env []byte) {
	if b.w.plan.policy == "" {
		return
	}
	m, err := wire.ParseControl(env)
	if err != nil {
		return
	}
	s := &b.sayings
	switch m := m.(type) {
	case *wire.Open:
		s.wants[session.OpenKey{Client: m.Client, Request: m.Request}] = m.Want
	case *wire.Register:
		s.unsure[m.Node], s.at[from] = true, m.Node
		for i := range m.Pools {
			s.said(m.Node, m.Pools[i].Name, m.Pools[i].Value, false)
		}
	case *wire.Beat:
		n, known := s.at[from]
		for pool, value := range m.Values {
			if known {
				s.said(n, pool, value, !s.unsure[n])
			}
		}
	}
}

// registered notes a Register that was taken: what it said is the last word.
func (b *brokerPart) registered(from wire.Peer, env []byte) {
	if b.w.plan.policy == "" || wire.KindOf(env) != wire.KindRegister {
		return
	}
	asked, _ := wire.ParseControl(env)
	m, ok := asked.(*wire.Register)
	taken := slices.ContainsFunc(b.fx.Outs, func(o wire.Out) bool {
		answer, _ := wire.ParseControl(o.Env)
		r, is := answer.(*wire.Registered)
		return is && o.To == from && !r.Again
	})
	if !ok || !taken {
		return
	}
	s := &b.sayings
	for peer, n := range s.at {
		if n == m.Node && peer != from {
			delete(s.at, peer)
		}
	}
	delete(s.unsure, m.Node)
	for i := range m.Pools {
		s.said(m.Node, m.Pools[i].Name, m.Pools[i].Value, true)
	}
}

// judgeShape has an open that wants a value offered only to a node that said it
// last. A repeated offer stays where the first one went.
func (b *brokerPart) judgeShape(to wire.Peer, m *wire.Offer) {
	s := &b.sayings
	key := session.OpenKey{Client: m.Client, Request: m.Request}
	if want := s.wants[key]; want != "" && s.judged[key] != m.Try+1 {
		s.judged[key] = m.Try + 1
		n := s.at[to]
		if s.placed[n] = b.w.now; !slices.Contains(s.values[n][m.Pool], want) {
			b.w.fail("%s offers open %s, which wants %q, to node %s, which has said %q", b.name, m.Request, want, n, s.values[n][m.Pool])
		}
	}
}

// places reports that an open that waited for a value was offered to a node just
// now, which need not know of it yet.
func (b *brokerPart) places(n *nodePart) bool {
	at, offered := b.sayings.placed[n.id]
	return offered && b.w.now-at < 2*time.Second
}

// sameSlots tells whether a broker and a node count the same slots.
func sameSlots(b *brokercore.Core, n *nodePart) bool {
	return b.NodeSizes(n.id).Slots == n.core.Sizes().Slots
}
