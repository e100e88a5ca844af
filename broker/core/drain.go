package core

import (
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Drain makes the broker take no more opens. Those that wait are told to go to
// another one; sessions go on, and offers that are out may still be accepted.
func (c *Core) Drain(now time.Time, fx *Effects) {
	c.draining = true
	list := make([]*open, 0, len(c.opens))
	for _, o := range c.opens {
		if o.state == openQueued {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b *open) int { return slices.Compare(a.key.Request[:], b.key.Request[:]) })
	for _, o := range list {
		c.table.Withdraw(o.key)
		c.refuse(o.client.peer, o.key, session.ErrDraining, "the broker is shutting down", fx)
		c.finish(now, o, session.ErrDraining)
	}
}

// Offers returns how many opens are on offer.
func (c *Core) Offers() int { return len(c.opens) }

// DrainNode asks a node to take nothing new and to end when its sessions have,
// or when the deadline (0: none) has passed. It gets no more offers from here
// at once. It is false for a node that is not known, or has no connection.
func (c *Core) DrainNode(id session.NodeID, deadline time.Duration, fx *Effects) bool {
	n := c.nodes[id]
	if n == nil || n.peer == 0 {
		return false
	}
	n.drain = true
	c.seat(n)
	n.asked = &wire.Drain{Epoch: c.cfg.Epoch, Deadline: wire.Millis(deadline)}
	fx.Control(n.peer, n.asked)
	fx.Events = append(fx.Events, Event{What: EventNodeDrains, Node: n.id, Name: n.name})
	return true
}

// NodeNamed returns the node with that id or name; false if there is none, or
// more than one of that name.
func (c *Core) NodeNamed(name string) (session.NodeID, bool) {
	var found []session.NodeID
	for id, n := range c.nodes {
		if n.name == name || id.String() == name {
			found = append(found, id)
		}
	}
	if len(found) != 1 {
		return 0, false
	}
	return found[0], true
}
