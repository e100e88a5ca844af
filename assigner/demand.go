package assigner

import (
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// Demand is what waits in a pool that one of its nodes could take, had it more
// slots.
type Demand struct {
	Waiting int
	Oldest  time.Duration // the wait of the longest waiting, up to the latest time that the table was told
	Nodes   int           // among whom it is shared: those that serve the pool, do not drain and are not away
}

// Demand tells what waits for a node in a pool; zero if it does not serve it. It
// costs a look at every client that waits there, and at every node of the pool.
func (t *Table) Demand(id session.NodeID, poolName string) (d Demand) {
	n := t.nodes[id]
	if n == nil || n.seats[poolName] == nil {
		return d
	}
	s := n.seats[poolName]
	for other, seat := range s.pool.seats {
		if seat.serves && !other.draining && !other.away {
			d.Nodes++
		}
	}
	for _, l := range s.pool.byKey {
		if !s.suits(l) {
			continue
		}
		d.Waiting += l.waiting
		for _, ln := range l.byKey {
			d.Oldest = max(d.Oldest, t.clock.latest.Sub(ln.first.asked))
		}
	}
	return d
}
