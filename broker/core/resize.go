package core

import (
	"fmt"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// resize is the last change of a pool's slots on one node.
type resize struct {
	was int
	why string
	at  time.Time
}

// newSizes takes the slots that a node's pools have now. What a pool of a fixed
// size would have is not believed.
func (c *Core) newSizes(now time.Time, n *node, sizes []wire.Size, fx *Effects) {
	changed := false
	for i := range sizes {
		s := &sizes[i]
		p := n.elastic(s.Pool)
		if p == nil || s.Slots > p.Most {
			continue
		}
		if s.Why != "" {
			if n.resized == nil {
				n.resized = map[string]resize{}
			}
			n.resized[p.Name] = resize{was: s.Was, why: s.Why, at: now.Add(-time.Duration(s.Ago) * time.Millisecond)}
		}
		if s.Slots == p.Slots {
			continue
		}
		if s.Slots > p.Slots {
			c.counts.Grown++
		} else {
			c.counts.Shrunk++
		}
		fx.Events = append(fx.Events, Event{
			What: EventResized, Node: n.id, Name: n.name, Pool: p.Name, Text: fmt.Sprintf("%d to %d slots: %s", p.Slots, s.Slots, s.Why),
		})
		p.Slots, changed = s.Slots, true
	}
	if changed {
		c.seat(n)
	}
}

// elastic is a pool of the node that grows and shrinks, nil if there is no such.
func (n *node) elastic(pool string) *wire.Pool {
	for i := range n.pools {
		if n.pools[i].Name == pool && n.pools[i].Most > 0 {
			return &n.pools[i]
		}
	}
	return nil
}

// queuesOf is what waits for a node in its pools that grow and shrink.
func (c *Core) queuesOf(n *node) (queues []wire.Queue) {
	if n == nil || n.drain {
		return nil
	}
	for i := range n.pools {
		if n.pools[i].Most == 0 {
			continue
		}
		d := c.table.Demand(n.id, n.pools[i].Name)
		queues = append(queues, wire.Queue{
			Pool: n.pools[i].Name, Waiting: uint32(d.Waiting), Oldest: wire.Millis(d.Oldest), Nodes: uint32(d.Nodes),
		})
	}
	return queues
}
