package core

import (
	"maps"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// awaited are the clients that were told "recovering" about a node that is not
// back yet. They are asked who they are as soon as it is, for a client that is
// asked that sends again whatever it waits for; without it they would wait for
// their own next try. Only clients that said hello: others expect answers and
// nothing else.
type awaited struct {
	by    map[session.NodeID]map[wire.Peer]bool
	count int
}

// awaitMost bounds the pairs of client and node that are remembered; one more
// finds out by trying again.
const awaitMost = 1 << 14

func (a *awaited) add(n session.NodeID, from wire.Peer) {
	if a.by[n][from] || a.count >= awaitMost {
		return
	}
	if a.by == nil {
		a.by = map[session.NodeID]map[wire.Peer]bool{}
	}
	if a.by[n] == nil {
		a.by[n] = map[wire.Peer]bool{}
	}
	a.by[n][from] = true
	a.count++
}

func (a *awaited) forget(n session.NodeID) {
	a.count -= len(a.by[n])
	delete(a.by, n)
}

// tellBack turns to those who wait for a node that is back.
func (c *Core) tellBack(n *node, fx *Effects) {
	for _, peer := range slices.Sorted(maps.Keys(c.awaited.by[n.id])) {
		fx.Control(peer, &wire.Identify{Broker: c.cfg.ID, Epoch: c.cfg.Epoch})
	}
	c.awaited.forget(n.id)
}

// awaitNoMore forgets who waited for nodes that never came.
func (c *Core) awaitNoMore(now time.Time) {
	if c.Recovering(now) {
		return
	}
	clear(c.before)
	if c.awaited.count == 0 {
		return
	}
	for id := range c.awaited.by {
		if c.nodes[id] == nil {
			c.awaited.forget(id)
		}
	}
}
