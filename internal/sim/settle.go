package sim

import (
	"fmt"
	"time"
)

// patience is how long after the end of all faults and all users' work
// everything has to be over: the longest handler, the longest Close, a lease,
// and the longest that a client repeats something nobody answers.
const patience = 75 * time.Second

// settle waits until nothing is open anywhere, and says what still is if that
// takes too long.
func (w *World) settle() {
	if w.plan.hold {
		for w.failure == nil && w.now < w.plan.plateau() {
			w.step()
		}
		w.compare()
	}
	end := w.now + patience
	for w.failure == nil {
		until := w.now + 500*time.Millisecond
		for w.failure == nil && w.now < until {
			w.step()
		}
		rest := w.rest()
		if rest == "" {
			break
		}
		if w.now > end {
			w.fail("%s after the end of all faults and work, %s", patience, rest)
		}
	}
}

// rest names the first thing that is not over.
func (w *World) rest() string {
	for _, c := range w.clients {
		if s := c.core.Sizes(); c.alive && s.Opens+s.Attaches+s.Sessions+s.Leases+s.Retries+s.Casts+s.Inflows+s.Roads+c.held > 0 {
			return fmt.Sprintf("%s still holds %+v, and %d chunks", c.name, s, c.held)
		}
	}
	for _, n := range w.nodes {
		if s := n.core.Sizes(); s.Free != s.Slots || s.Opens+s.Sessions+s.Clients+s.Clocks+s.Errands+s.Aside+s.Flows+s.Roads+n.held > 0 {
			return fmt.Sprintf("%s still holds %+v, and %d chunks", n.name, s, n.held)
		}
	}
	if n := len(w.masters()); w.cell != nil && n != 1 {
		return fmt.Sprintf("the cell has %d masters", n)
	}
	living := 0
	for _, c := range w.clients {
		if c.alive {
			living++
		}
	}
	for _, b := range w.masters() {
		s := b.core.Sizes()
		if s.Opens+s.Waiting+s.Offers+s.Sessions+s.Taken+s.Repeats+s.Used+s.Casts+s.Asked > 0 || s.Nodes != len(w.nodes) || s.Clients != living || s.Beating != living {
			return fmt.Sprintf("%s still holds %+v, while %d nodes and %d clients live", b.name, s, len(w.nodes), living)
		}
		for _, n := range w.nodes {
			if !b.core.NodeSizes(n.id).Known {
				return fmt.Sprintf("%s does not know %s", b.name, n.name)
			}
		}
	}
	if n := len(w.truth.opens); n > 0 {
		return fmt.Sprintf("%d opens have not ended", n)
	}
	return w.truth.rest()
}

// compare checks, some time after the end of all faults, that everybody has
// the same picture: what a client holds lives on its node, and a broker counts
// what its nodes hold.
func (w *World) compare() {
	for _, c := range w.clients {
		for _, s := range c.core.Sessions() {
			if id := s.Route().Session; c.alive && s.Ended() == nil && w.truth.past(id) {
				w.fail("%s believes that it has session %s, which is over since long", c.name, id)
			}
		}
	}
	for _, n := range w.nodes {
		for _, b := range w.masters() {
			if got := b.core.NodeSizes(n.id); n.settled() && !b.places(n) && (!got.Known || got.Used < len(n.seats) || got.Used > len(n.seats)+b.underWay(got.Offers) || got.Sessions != len(n.seats)) {
				w.fail("%s counts %+v for %s, which holds %d slots", b.name, got, n.name, len(n.seats))
			}
			if n.settled() && !sameSlots(b.core, n) {
				w.fail("%s counts %+v for %s, which is %+v", b.name, b.core.NodeSizes(n.id), n.name, n.core.Sizes())
			}
		}
	}
}

// settled reports that no session of the node begins, ends, or ended just now.
func (n *nodePart) settled() bool {
	for _, t := range n.seats {
		if t.busy && t.current == nil || t.stop != nil || t.waits() {
			return false
		}
	}
	return n.w.now-n.changed > 2*time.Second
}

// audit says whether the tables of a part are to be checked now: always while
// a history is written, else every few steps, since what is wrong stays wrong.
func (w *World) audit(every int) bool { return w.history != nil || w.steps%every == 0 }

func (w *World) auditBroker(b *brokerPart) {
	if !w.audit(16) {
		return
	}
	if err := b.core.Audit(); err != nil {
		w.fail("%s: %w", b.name, err)
	}
}

func (w *World) auditNode(n *nodePart) {
	if !w.audit(4) {
		return
	}
	if err := n.core.Audit(); err != nil {
		w.fail("%s: %w", n.name, err)
	}
}

func (w *World) auditClient(c *clientPart) {
	if !w.audit(8) {
		return
	}
	if err := c.core.Audit(); err != nil {
		w.fail("%s: %w", c.name, err)
	}
}
