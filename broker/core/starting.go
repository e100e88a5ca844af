package core

import (
	"maps"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/assigner"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// starting takes a node's word on the sessions whose Open runs there: for a
// broker that was restarted, their opens are on offer again. What a Register
// named before and does not name now came to nothing.
func (c *Core) starting(now time.Time, n *node, live []wire.Live, fx *Effects) {
	still := make(map[session.OpenKey]bool, len(live))
	for i := range live {
		still[session.OpenKey{Client: live[i].Client, Request: live[i].Request}] = true
	}
	for _, o := range n.offersInOrder() {
		if o.named && !still[o.key] {
			delete(n.offers, o.key)
			c.table.Free(now, n.id, o.ask.Pool)
			c.requeue(now, o, fx)
		}
	}
	for i := range live {
		if live[i].Starting {
			c.await(n, now, &live[i])
		}
	}
}

// await puts an open on offer at the node that says that it starts there. One
// that is with another node too, or over, is settled when the node accepts it.
func (c *Core) await(n *node, now time.Time, live *wire.Live) {
	key := session.OpenKey{Client: live.Client, Request: live.Request}
	if _, over := c.past.find(key); over || c.taken[key] != nil {
		return
	}
	o := c.opens[key]
	switch {
	case o == nil:
		cl, err := c.client(live.Client, c.peerOf(live.Client))
		if err != nil {
			return
		}
		o = &open{key: key, client: cl, first: live.First, arrived: now, unasked: true, ask: assigner.Request{OpenKey: key, Pool: n.poolName(live.Pool)}}
		c.opens[key] = o
		cl.waiting++
	case o.state == openQueued:
		c.table.Withdraw(key)
		o.grant = o.given(now)
	default:
		return
	}
	o.state, o.node, o.named, o.try = openOffered, n, true, live.Try
	n.offers[key] = o
	c.table.Take(n.id, o.ask.Pool)
}

// asked fills in what the client of an open wants that only a node had named.
func (o *open) asked(by *open) {
	o.unasked, o.first = false, o.first || by.first
	o.ask, o.limits, o.notify, o.arrived, o.call = by.ask, by.limits, by.notify, by.arrived, by.call
	o.grant, o.size = o.given(by.arrived), by.size
}

// given is the grant of an open that a node took before this broker knew.
func (o *open) given(now time.Time) assigner.Grant {
	return assigner.Grant{Request: o.ask, Waited: now.Sub(o.arrived)}
}

func (n *node) offersInOrder() []*open {
	return slices.SortedFunc(maps.Values(n.offers), func(a, b *open) int { return slices.Compare(a.key.Request[:], b.key.Request[:]) })
}
