package assigner

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// PoolStatus is what status shows of a pool.
type PoolStatus struct {
	Name     string
	Policy   Policy
	Nodes    int // that serve it, draining ones included
	Draining int // of them
	Slots    int
	Used     int // may exceed Slots, see Take
	Free     int // the sum of what the nodes have free
	Ready    int // of Free what Grants may give: the node is neither draining nor away nor held
	Waiting  int
	Room     int // how many may wait at most, see Limits.Queue
	// Oldest is when the longest waiting request was asked, zero without one;
	// LongestWait is its wait up to the latest time that the table was told.
	Oldest      time.Time
	LongestWait time.Duration
}

// NodeStatus is what status shows of a node: the sums, and each pool by name.
type NodeStatus struct {
	ID       session.NodeID
	Name     string
	Labels   map[string]string
	Draining bool
	Slots    int
	Used     int
	Free     int
	Pools    []SeatStatus
}

// SeatStatus is one node's share of one pool. Free is Slots less Used, never
// less than zero.
type SeatStatus struct {
	Pool  string
	Slots int
	Used  int
	Free  int
	Held  time.Time // see Hold; zero if not held
}

// Pools is every known pool, by name.
func (t *Table) Pools() []PoolStatus {
	out := make([]PoolStatus, 0, len(t.pools))
	for _, name := range slices.Sorted(maps.Keys(t.pools)) {
		out = append(out, t.poolStatus(t.pools[name]))
	}
	return out
}

func (t *Table) poolStatus(p *pool) PoolStatus {
	ps := PoolStatus{Name: p.name, Policy: p.policy, Waiting: p.waiting, Room: t.limits.Queue}
	for n, s := range p.seats {
		if s.serves {
			ps.Nodes++
			if n.draining {
				ps.Draining++
			}
		}
		ps.Slots += s.slots
		ps.Used += s.used
		ps.Free += s.free()
		if s.mayGive() {
			ps.Ready += s.free()
		}
	}
	for _, l := range p.byKey {
		for _, ln := range l.byKey {
			if asked := ln.first.asked; ps.Oldest.IsZero() || asked.Before(ps.Oldest) {
				ps.Oldest = asked
			}
		}
	}
	if !ps.Oldest.IsZero() {
		ps.LongestWait = max(0, t.clock.latest.Sub(ps.Oldest))
	}
	return ps
}

// Nodes is every known node, by name, then by id.
func (t *Table) Nodes() []NodeStatus {
	out := make([]NodeStatus, 0, len(t.nodes))
	for _, n := range t.nodes {
		out = append(out, n.status())
	}
	slices.SortFunc(out, func(a, b NodeStatus) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return out
}

func (n *node) status() NodeStatus {
	ns := NodeStatus{ID: n.id, Name: n.name, Labels: maps.Clone(n.labels), Draining: n.draining}
	for _, name := range slices.Sorted(maps.Keys(n.seats)) {
		s := n.seats[name]
		seat := SeatStatus{Pool: name, Slots: s.slots, Used: s.used, Free: s.free()}
		if s.holdPlace != 0 {
			seat.Held = s.held
		}
		ns.Slots += s.slots
		ns.Used += s.used
		ns.Free += seat.Free
		ns.Pools = append(ns.Pools, seat)
	}
	return ns
}
