package sim

import (
	"io"
	"slices"
	"time"

	"github.com/google/uuid"

	brokercore "github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// A cell is what the brokers of a world may share: they follow each other as
// masters, each under an epoch of its own. Here nobody kills the one before: it
// goes on, stopped or not, until it hears from a node that it is outdated, and
// some time longer.
type cell struct {
	id      uuid.UUID
	epoch   uint64 // the last that was claimed
	chance  chance
	refused int // messages of former masters

	written bool // a master has written down what it leaves
	nodes   []session.NodeID
}

// newCellWorld is a world of two candidates of one cell.
func newCellWorld(seed uint64, history io.Writer) *World {
	w := newWorld(seed, history)
	w.cell = &cell{chance: newChance(seed, 7)}
	w.cell.id, _ = uuid.NewRandomFromReader(w.cell.chance)
	w.plan.inCell(w.cell.chance)
	w.note("a cell: %s", w.plan.String())
	return w
}

// inCell makes the brokers of a plan masters of one cell. A takeover is to
// nodes and clients what a crash of a broker is.
func (p *plan) inCell(c chance) {
	p.brokers = 2
	p.takeovers = c.count(1, 5)
	p.brokerCrashes = max(p.brokerCrashes, 1)
	p.stops = max(p.stops, 1)
	p.renews = c.in(0.8)
}

// claim is who a broker is that starts now: by itself, or the next master of
// the cell, which may find what the one before has written down.
func (b *brokerPart) claim() (cfg brokercore.Config) {
	if c := b.w.cell; c != nil {
		c.epoch++
		b.epoch = c.epoch
		cfg = brokercore.Config{ID: c.id, Epoch: c.epoch, Elected: true}
		if c.written && c.chance.in(0.8) {
			cfg.Heir, cfg.Before = true, c.nodes
		}
		return cfg
	}
	cfg.ID, _ = uuid.NewRandomFromReader(b.w.chance)
	return cfg
}

// bequeath writes down what the next master has to wait for. Who has been
// replaced writes no more.
func (b *brokerPart) bequeath() {
	if c := b.w.cell; c != nil && b.epoch == c.epoch && slices.ContainsFunc(b.fx.Events, brokercore.Event.Inherits) {
		c.written, c.nodes = true, b.core.Heritage()
	}
}

// standsBy reports that a broker is down because another one is master.
func (b *brokerPart) standsBy() bool { return b.w.cell != nil && !b.alive }

// takeOver makes another broker the master. The one that was is stopped first,
// or is not heard of by the others for some other reason.
func (w *World) takeOver() {
	c := w.cell.chance
	i := slices.IndexFunc(w.brokers, func(b *brokerPart) bool { return b.alive && b.epoch == w.cell.epoch })
	if i < 0 {
		return
	}
	if b := w.brokers[i]; !b.stopped && c.in(0.7) {
		b.stopped = true
		life := b.life
		d := c.skewed(50*time.Millisecond, 8*time.Second)
		w.note("%-8s ! stops for %s, and is replaced", b.name, d)
		w.after(d, func() {
			if b.life == life {
				w.note("%-8s ! goes on", b.name)
				b.resume()
			}
		})
	}
	next := w.brokers[1-i]
	if next.alive {
		next.crash()
	}
	next.boot()
}

// outdated takes that a node knows a later master than this broker. It looks at
// its lock, some time later, and stands by.
func (b *brokerPart) outdated(epoch uint64) {
	w := b.w
	if w.cell == nil || epoch < b.epoch {
		return
	}
	if b.epoch == w.cell.epoch {
		w.fail("%s leads under epoch %d, the last that was claimed, and was told of %d", b.name, b.epoch, epoch)
		return
	}
	w.cell.refused++
	if b.yields == b.life {
		return
	}
	b.yields = b.life
	b.after(w.cell.chance.skewed(0, time.Second), func() {
		w.note("%-8s   stands by: epoch %d is known", b.name, epoch)
		b.crash()
		w.after(w.cell.chance.between(0, time.Second), w.elect)
	})
}

// elect has somebody be master.
func (w *World) elect() {
	if !slices.ContainsFunc(w.brokers, func(b *brokerPart) bool { return b.alive }) {
		w.brokers[w.cell.chance.IntN(len(w.brokers))].boot()
	}
}

// masters are the brokers that should know everything: all but those that stand
// by.
func (w *World) masters() []*brokerPart {
	return slices.DeleteFunc(slices.Clone(w.brokers), (*brokerPart).standsBy)
}

// heardOf notes the epoch that a broker shows to a node, and reports whether
// what it says is said under an older one.
func (n *nodePart) heardOf(env []byte) (older bool) {
	m, err := wire.ParseControl(env)
	if n.w.cell == nil || err != nil {
		return false
	}
	switch m := m.(type) {
	case *wire.Welcome:
		n.known = max(n.known, m.Epoch)
		return m.Epoch < n.known
	case *wire.Identify:
		n.known = max(n.known, m.Epoch)
		return m.Epoch < n.known
	case *wire.Offer:
		return m.Epoch < n.known
	case *wire.Revoke:
		return m.Epoch < n.known
	case *wire.Drain:
		return m.Epoch < n.known
	case *wire.Cast:
		return m.Epoch < n.known
	case *wire.Beat:
		return m.Epoch < n.known
	case *wire.Registered:
		return m.Epoch < n.known
	default:
		return false
	}
}

// disobeys fails where a node did what a former master said, or said nothing.
func (n *nodePart) disobeys(env []byte) {
	fx := &n.fx
	refusals := 0
	for _, o := range fx.Outs {
		if k := wire.KindOf(o.Env); k == wire.KindError {
			refusals++
		} else {
			n.w.fail("%s answers %s of a former master with %s", n.name, describe(env), describe(o.Env))
		}
	}
	if refusals != 1 || len(fx.Start)+len(fx.Run)+len(fx.Errands)+len(fx.Cancel)+len(fx.Stop) > 0 || fx.Drain != nil {
		n.w.fail("%s obeys %s of a former master, or does not refuse it", n.name, describe(env))
	}
}

// renewed tells a part that its connection stands again, as the runtimes do.
func (l *link) renewed() {
	if l.gen > 1 && l.w.plan.renews {
		if r, ok := l.dealer.(renewer); ok {
			l.dealer.proc().run(func() { r.renewed(l.peer) })
		}
	}
}

// renewer is a part that introduces itself on every new connection.
type renewer interface{ renewed(peer wire.Peer) }

func (n *nodePart) renewed(peer wire.Peer) {
	n.step(func(fx *core.Effects) { n.core.Renewed(n.now(), peer, fx) })
}
