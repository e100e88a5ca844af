package sim

import (
	"fmt"
	"slices"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// callers are those who have connected to a node without a broker in between.
type callers struct {
	links []*link // of everybody that ever connected here and still lives
	peers map[wire.Peer]*link
	next  wire.Peer
}

// callersFrom is above every peer that a node has dialled itself.
const callersFrom wire.Peer = 1 << 20

// endpointOf is what a node says that it listens at. A liar names another's.
func (w *World) endpointOf(n *nodePart) string {
	if !w.plan.direct {
		return ""
	}
	name := n.name
	if w.plan.lies && len(w.nodes) > 1 && w.nodes[0] != n {
		name = w.nodes[0].name
	}
	return fmt.Sprintf("sim://%s", name)
}

// listensAt is the node behind an endpoint.
func (w *World) listensAt(endpoint string) *nodePart {
	i := slices.IndexFunc(w.nodes, func(n *nodePart) bool { return "sim://"+n.name == endpoint })
	if i < 0 {
		return nil
	}
	return w.nodes[i]
}

func (n *nodePart) keep(l *link) { n.direct.links = append(n.direct.links, l) }

// welcomePeer gives a connection that came up its peer.
func (n *nodePart) welcomePeer(l *link) wire.Peer {
	d := &n.direct
	if d.peers == nil {
		d.peers = map[wire.Peer]*link{}
	}
	d.next++
	peer := callersFrom + d.next
	d.peers[peer] = l
	n.w.note("%-8s   %s connects as peer %d", n.name, l.dealer.proc().name, peer)
	return peer
}

func (n *nodePart) cutPeer(peer wire.Peer) { delete(n.direct.peers, peer) }

// answer sends by a direct path; what cannot be sent is lost.
func (n *nodePart) answer(o wire.Out) {
	l := n.direct.peers[o.To]
	if l == nil || !l.up || l.router != o.To {
		n.w.note("%-8s   unreachable  %d %s", n.name, o.To, o.Env)
		return
	}
	if n.w.history != nil {
		n.w.note("%-8s > %-8s   %s", n.name, l.dealer.proc().name, o.Env)
	}
	n.claim(o.Env)
	l.back(n.w.keep(o.Env))
}

// fallDirect has the connections of a node that has ended break.
func (n *nodePart) fallDirect() {
	fall(n.direct.links)
	n.direct.links = slices.DeleteFunc(n.direct.links, (*link).over)
	clear(n.direct.peers)
}
