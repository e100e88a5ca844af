package assigner

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/limpet-rpc/limpet/session"
)

// SetValue takes what a node says of itself for one of its pools, see Policy.
// Nothing happens if the node does not serve the pool.
func (t *Table) SetValue(id session.NodeID, poolName, value string) {
	n := t.nodes[id]
	if n == nil {
		return
	}
	s := n.seats[poolName]
	if s == nil || s.value == value {
		return
	}
	t.unplace(s)
	s.setValue(value)
	s.announced = false
	t.place(s)
}

func (s *seat) setValue(value string) {
	s.value = value
	number, err := strconv.ParseFloat(value, 64)
	s.number, s.numbered = number, err == nil && !math.IsNaN(number)
}

// setPolicy makes p a pool's policy: its seats are put where they belong by it,
// and whoever waits may be suited now.
func (t *Table) setPolicy(p *pool, policy Policy) {
	if p.policy == policy {
		return
	}
	seats := slices.SortedFunc(maps.Values(p.seats), func(a, b *seat) int { return cmp.Compare(a.node.joined, b.node.joined) })
	for _, s := range seats {
		t.unplace(s)
		p.leaveHost(s)
	}
	p.policy = policy
	for _, s := range seats {
		s.announced = false
		t.place(s)
	}
}
