package core

import (
	"fmt"

	"github.com/limpet-rpc/limpet/session"
)

// Sizes is how much a broker holds in each of its tables.
type Sizes struct {
	Nodes, NodePeers     int
	Clients, ClientPeers int
	Beating              int // clients that promised beats
	Opens                int // queued or on offer
	Waiting              int // of them in a queue
	Offers               int // of them on offer
	Taken                int // opens that have a session
	Sessions             int
	Repeats              int // offers to be looked at again
	Used                 int // slots, as the assigner counts them
	Past                 int // opens that are over and remembered; bounded
	Casts                int // broadcasts under way, or not confirmed
	Asked                int // parts of them to be looked at again
}

// Sizes counts what the broker holds.
func (c *Core) Sizes() Sizes {
	s := Sizes{
		Nodes: len(c.nodes), NodePeers: len(c.nodeAt), Clients: len(c.clients), ClientPeers: len(c.clientAt), Beating: c.clientBeats.Len(),
		Opens: len(c.opens), Taken: len(c.taken), Repeats: len(c.offered), Past: c.past.all.Len(),
		Casts: len(c.casts), Asked: len(c.asked),
	}
	for _, n := range c.nodes {
		s.Offers += len(n.offers)
		s.Sessions += len(n.live)
	}
	for _, p := range c.table.Pools() {
		s.Waiting += p.Waiting
		s.Used += p.Used
	}
	return s
}

// NodeSizes is what a broker counts for one node.
type NodeSizes struct {
	Known                  bool
	Slots                  int
	Used, Sessions, Offers int
}

// NodeSizes counts what the broker holds for a node.
func (c *Core) NodeSizes(id session.NodeID) NodeSizes {
	n := c.nodes[id]
	if n == nil {
		return NodeSizes{}
	}
	s := NodeSizes{Known: n.peer != 0, Sessions: len(n.live), Offers: len(n.offers)}
	for _, t := range c.table.Nodes() {
		if t.ID == id {
			s.Slots, s.Used = t.Slots, t.Used
		}
	}
	return s
}

// Audit checks that the broker's tables agree with each other: above all that
// the slots that its assigner counts as used are those of sessions and offers.
// It is for tests and costs time in proportion to what is held.
func (c *Core) Audit() error {
	waiting, live := map[*client]int{}, map[*client]int{}
	for key, o := range c.opens {
		if err := c.auditOpen(key, o); err != nil {
			return err
		}
		waiting[o.client]++
	}
	for _, n := range c.nodes {
		for _, l := range n.live {
			live[l.client]++
		}
	}
	for key, l := range c.taken {
		if l.key() != key || l.node.live[l.live.Session] != l || c.nodes[l.node.id] != l.node {
			return fmt.Errorf("open %s has session %s, which its node does not have", key.Request, l.live.Session)
		}
	}
	for id, cl := range c.clients {
		if cl.waiting != waiting[cl] || cl.live != live[cl] {
			return fmt.Errorf("client %s has %d opens waiting and %d sessions, counts %d and %d", id, waiting[cl], live[cl], cl.waiting, cl.live)
		}
		if cl.peer != 0 && c.clientAt[cl.peer] != cl {
			return fmt.Errorf("client %s is not found by its peer %d", id, cl.peer)
		}
		delete(live, cl)
	}
	if len(live) > 0 {
		return fmt.Errorf("%d clients have sessions and are not known", len(live))
	}
	if len(c.clientAt) > len(c.clients) || len(c.nodeAt) > len(c.nodes) {
		return fmt.Errorf("%d peers of %d clients, %d of %d nodes", len(c.clientAt), len(c.clients), len(c.nodeAt), len(c.nodes))
	}
	if err := c.auditCasts(); err != nil {
		return err
	}
	return c.auditNodes()
}

func (c *Core) auditOpen(key session.OpenKey, o *open) error {
	if o.key != key || c.clients[key.Client] != o.client {
		return fmt.Errorf("open %s is listed under %s, or its client is not known", o.key.Request, key.Request)
	}
	switch o.state {
	case openQueued:
		if o.node != nil {
			return fmt.Errorf("open %s is queued and has a node", key.Request)
		}
	case openOffered:
		if o.node == nil || o.node.offers[key] != o || c.nodes[o.node.id] != o.node {
			return fmt.Errorf("open %s is on offer to a node that does not have it", key.Request)
		}
	case openOver:
		return fmt.Errorf("open %s is over and still listed", key.Request)
	}
	return nil
}

func (c *Core) auditNodes() error {
	used := map[session.NodeID]int{}
	for _, t := range c.table.Nodes() {
		used[t.ID] = t.Used
	}
	for id, n := range c.nodes {
		if used[id] != len(n.live)+len(n.offers) {
			return fmt.Errorf("node %s: %d sessions and %d offers, the assigner counts %d slots used", n.name, len(n.live), len(n.offers), used[id])
		}
		if n.peer != 0 && c.nodeAt[n.peer] != n {
			return fmt.Errorf("node %s is not found by its peer %d", n.name, n.peer)
		}
		lost := 0
		for _, l := range n.live {
			if l.live.Quarantined {
				lost++
			}
		}
		if lost != n.lostSlots() {
			return fmt.Errorf("node %s: %d slots are quarantined, %d are counted", n.name, lost, n.lostSlots())
		}
		for key, o := range n.offers {
			if o.node != n || o.state != openOffered || o.key != key {
				return fmt.Errorf("node %s has an offer %s in state %d", n.name, key.Request, o.state)
			}
		}
	}
	if len(used) > len(c.nodes) { // one that still sends its Register in parts is not seated
		return fmt.Errorf("%d nodes, the assigner knows %d", len(c.nodes), len(used))
	}
	return nil
}
