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

// SetPolicy gives a pool that has nodes a policy of its own, until the last of
// them has left; what is in use stays where it is. Without one a pool has the
// table's. Nothing happens if no node serves the pool.
func (t *Table) SetPolicy(poolName string, policy Policy) {
	p := t.pools[poolName]
	if p == nil || len(p.seats) == 0 || p.policy == policy {
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
