package core

import (
	"fmt"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// leaves takes a node's good-bye: it holds nothing any more.
func (c *Core) leaves(now time.Time, from wire.Peer, m *wire.Leave, fx *Effects) {
	n := c.nodeAt[from]
	if n == nil {
		return
	}
	delete(c.nodes, n.id)
	delete(c.nodeAt, n.peer)
	c.table.Leave(n.id)
	c.nodeBeats.Forget(n.id)
	fx.Events = append(fx.Events, Event{What: EventNodeLeft, Node: n.id, Name: n.name})
	c.castsLeave(n, fx)
	c.tellLost(n, session.Death{Text: "the node has left"}, fx)
	c.bereave(now, n, !n.gap && m.Seq == n.seq, fx)
}

// bereave ends what a node leaves behind: its sessions are over, its offers go
// back into the queue.
func (c *Core) bereave(now time.Time, n *node, all bool, fx *Effects) {
	for _, l := range leasesOf(n.live) {
		c.end(now, l, session.ErrWorkerLost, fx)
	}
	offers := n.offersInOrder()
	clear(n.offers)
	for _, o := range offers {
		if o.first && !all { // the offer may have been taken, and the call have run
			c.unknown(now, o, n, fx)
		} else {
			c.requeue(now, o, fx)
		}
	}
	c.pump(now, fx)
}

// nodeChanged takes what the beats say of a node.
func (c *Core) nodeChanged(now time.Time, change heartbeat.Change[session.NodeID], fx *Effects) {
	n := c.nodes[change.Who]
	if n == nil {
		return
	}
	if change.To != heartbeat.Gone {
		fx.Events = append(fx.Events, Event{What: EventNodeState, Node: n.id, Name: n.name, Text: change.To.String()})
		return
	}
	why := session.Death{Text: fmt.Sprintf("no beat for %s", change.Silent.Round(time.Millisecond))}
	c.castsLose(n, why, true, fx)
	c.lose(now, n, why, fx)
}

// lose forgets a node: its sessions' clients are told, its offers go back into
// the queue.
func (c *Core) lose(now time.Time, n *node, why session.Death, fx *Effects) {
	why = why.WithDefaults()
	delete(c.nodes, n.id)
	delete(c.nodeAt, n.peer)
	c.table.Leave(n.id)
	c.nodeBeats.Forget(n.id)
	c.counts.NodesLost++
	c.mourn(now, n, why)
	if n.started != nil {
		c.buried.add(now, n.id, by(n.name, why), n.started)
	}
	c.castsLose(n, why, false, fx)
	fx.Events = append(fx.Events, Event{What: EventNodeLost, Node: n.id, Name: n.name, Text: fmt.Sprintf("%s, %d sessions", why.Text, len(n.live))})
	c.tellLost(n, why, fx)
	c.bereave(now, n, false, fx)
}

// lostMost is how many sessions one Lost names.
const lostMost = 4096

func (c *Core) tellLost(n *node, why session.Death, fx *Effects) {
	why = by(n.name, why)
	of := map[wire.Peer][]session.ID{} // the started numbers go with them
	var once []*lease
	for id, l := range n.live {
		if l.client.peer != 0 {
			if l.once {
				once = append(once, l)
			}
			of[l.client.peer] = append(of[l.client.peer], id)
		}
	}
	peers := make([]wire.Peer, 0, len(of))
	for p := range of {
		peers = append(peers, p)
	}
	slices.Sort(peers)
	slices.SortFunc(once, func(a, b *lease) int { return slices.Compare(a.live.Session[:], b.live.Session[:]) })
	for _, l := range once {
		fx.Control(l.client.peer, &wire.Refused{
			Request: l.live.Request, Code: why.Code, Text: wire.Text(why.Text),
			Unknown: n.mayHaveStarted(l.live.Session),
		})
	}
	for _, p := range peers {
		ids := of[p]
		slices.SortFunc(ids, func(a, b session.ID) int { return slices.Compare(a[:], b[:]) })
		for chunk := range slices.Chunk(ids, lostMost) {
			fx.Control(p, &wire.Lost{
				Node: n.id, Sessions: chunk, Started: n.startedOf(chunk), Code: why.Code, Text: wire.Text(why.Text),
			})
		}
	}
}
