package core

import (
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// lossesMost bounds the lost nodes that are remembered, each with a dump of
// wire.MaxDump at most.
const lossesMost = 16

// loss is a node as it was when it was lost, and what it did then, where its
// supervisor looked.
type loss struct {
	at   time.Time
	node session.NodeID
	is   LostStatus
	dump string
}

// DeathStatus is a lost node with the dump of its process.
type DeathStatus struct {
	LostStatus
	Dump string `json:"dump,omitempty"`
}

// mourn remembers a node that is lost.
func (c *Core) mourn(now time.Time, n *node, why session.Death) {
	if len(c.losses) == lossesMost {
		c.losses = slices.Delete(c.losses, 0, 1)
	}
	is := LostStatus{Node: n.id.String(), Name: n.name, Host: n.host, PID: n.pid, Sessions: len(n.live), Why: wire.Text(why.Text)}
	c.losses = append(c.losses, loss{now, n.id, is, wire.Dump(why.Dump)})
}

// explain adds to a loss what was found out later.
func (c *Core) explain(id session.NodeID, why session.Death) {
	for i := range c.losses {
		if l := &c.losses[i]; l.node == id && why.Text != "" {
			l.is.Why, l.dump = wire.Text(why.Text), wire.Dump(why.Dump)
		}
	}
}

// status is the loss as it is shown.
func (l *loss) status(now time.Time) LostStatus {
	is := l.is
	is.Ago = now.Sub(l.at).Seconds()
	return is
}

func (c *Core) lostStatus(now time.Time, s *Status) {
	for _, l := range slices.Backward(c.losses) {
		s.Lost = append(s.Lost, l.status(now))
	}
}

// deathOf is the latest loss of such a node, nil if none is remembered.
func (c *Core) deathOf(now time.Time, which func(*loss) bool) *DeathStatus {
	for _, l := range slices.Backward(c.losses) {
		if which(&l) {
			return &DeathStatus{l.status(now), l.dump}
		}
	}
	return nil
}

// served reports that a buried node had that session.
func (b *buried) served(node session.NodeID, id session.ID) bool {
	n := b.nodes[node]
	if n == nil {
		return false
	}
	_, named := n.started[id]
	return named
}
