package sim

import (
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// startRecord is what a node's slots have noted, as package startrec keeps it:
// a slot's note is that of its latest session. It outlives a node that crashes;
// one that ends on purpose takes it away.
type startRecord struct {
	node  session.NodeID
	host  string
	notes map[seat]note
}

// note is the session of a slot and the last of its calls that was started, 0
// for none.
type note struct {
	session session.ID
	started uint64
}

// started is what a reader learns: by session, the last call that was started.
func (r *startRecord) started() map[session.ID]uint64 {
	m := make(map[session.ID]uint64, len(r.notes))
	for _, n := range r.notes {
		m[n.session] = n.started
	}
	return m
}

// lookEvery is how often nodes and brokers look for the dead of their machine.
const lookEvery = 200 * time.Millisecond

// leaveBehind leaves the record of a node that crashed to whoever looks first.
// Now and then nobody does, or only when the machine has time for it.
func (w *World) leaveBehind(r *startRecord) {
	var busy time.Duration
	switch f := w.fate.Float64(); {
	case f < 0.05:
		return
	case f < 0.2:
		busy = w.fate.between(0, 4*time.Second)
	}
	w.after(busy+w.fate.between(0, lookEvery), func() { w.look(r) })
}

// look has some part on the machine of a dead node read its record and take it
// away: the first that looks. A node looks only while it has somebody to tell.
func (w *World) look(r *startRecord) {
	nodes := slices.DeleteFunc(slices.Clone(w.nodes), func(n *nodePart) bool {
		return !n.alive || n.stopped || n.host != r.host || w.truth.nodes[n.id].left || !n.core.Registered()
	})
	brokers := slices.DeleteFunc(slices.Clone(w.brokers), func(b *brokerPart) bool { return !b.alive || b.stopped || b.host != r.host })
	if len(nodes)+len(brokers) == 0 {
		w.after(lookEvery, func() { w.look(r) })
		return
	}
	if i := w.fate.IntN(len(nodes) + len(brokers)); i < len(nodes) {
		nodes[i].mourn(r)
	} else {
		brokers[i-len(nodes)].bury(r)
	}
}

// mourn has a node tell its brokers of another one that is dead.
func (n *nodePart) mourn(r *startRecord) {
	n.w.note("%-8s   reads the start record of node %s: %d slots", n.name, r.node, len(r.notes))
	n.w.truth.readBy(r, n)
	n.step(func(fx *core.Effects) { n.core.Obituary(n.now(), r.node, r.started(), session.Death{}, fx) })
}

// bury has a broker give up a node of its own machine.
func (b *brokerPart) bury(r *startRecord) {
	b.w.note("%-8s   reads the start record of node %s: %d slots", b.name, r.node, len(r.notes))
	b.w.truth.readBy(r, nil)
	b.fx.Reset()
	b.core.BuryAll(b.now(), r.node, r.started(), session.Death{}, &b.fx)
	b.apply()
}

// newRecord is the record of a node's life; nil where none is kept.
func (n *nodePart) newRecord() *startRecord {
	if !n.w.plan.records {
		return nil
	}
	return &startRecord{node: n.id, host: n.host, notes: map[seat]note{}}
}

// begin notes that a slot serves a session and has started nothing of it.
func (r *startRecord) begin(at seat, id session.ID) { r.start(at, id, 0) }

// start notes that a call is about to run.
func (r *startRecord) start(at seat, id session.ID, number uint64) {
	if r != nil {
		r.notes[at] = note{id, number}
	}
}
