package core

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// node is what the client keeps for one node: the sessions whose leases it
// renews there with one small beat.
type node struct {
	id       session.NodeID
	sessions map[session.ID]*Session
	first    *Session // any of them, and the same for as long as it is there; nil: to be chosen
	denied   bool     // a broker says of some of them that the node is gone
	digest   uint64
	asked    bool          // a beat is not answered yet
	lease    time.Duration // the shortest of theirs
	pacer    *heartbeat.Pacer
}

// hold begins to keep a session's lease.
func (c *Core) hold(now time.Time, s *Session) {
	n := c.nodes[s.route.Node]
	if n == nil {
		n = &node{id: s.route.Node, sessions: map[session.ID]*Session{}}
		c.nodes[s.route.Node] = n
	}
	if s.node = n; len(n.sessions) == 0 {
		n.first = s
	}
	n.sessions[s.route.Session] = s
	n.digest ^= session.Digest(s.route.Session)
	if n.lease == 0 || s.limits.Lease < n.lease {
		n.lease = s.limits.Lease
		n.pacer = heartbeat.NewPacer(n.lease / 4)
		n.pacer.Due(now) // the open was a sign of life: the first beat is due after an interval
	}
}

// unhold ends that: the session is over, or is being closed.
func (c *Core) unhold(s *Session) {
	n := s.node
	if n == nil {
		return
	}
	if s.node = nil; n.first == s {
		n.first = nil
	}
	delete(n.sessions, s.route.Session)
	n.digest ^= session.Digest(s.route.Session)
	if len(n.sessions) == 0 {
		delete(c.nodes, n.id)
	}
}

// watchLeases sends the beats that are due.
func (c *Core) watchLeases(now time.Time, fx *Effects) {
	if len(c.nodes) == 0 {
		return
	}
	for _, n := range c.nodesInOrder() {
		if n.pacer.Due(now) {
			if d := c.directs[n.id]; n.asked && d != nil {
				c.doubt(now, d, "a beat was not answered in time", fx)
			}
			n.asked = true
			c.renew(n, nil, fx)
		}
	}
}

// renew sends one beat for all sessions on a node, with the list of them where
// the node asked for it.
func (c *Core) renew(n *node, list []byte, fx *Effects) {
	if n.first == nil {
		n.choose()
	}
	if n.first == nil {
		return
	}
	if way, ok := c.way(n.first); ok {
		h := wire.Header{Kind: wire.KindLease, Node: n.id, Session: c.cfg.ID, Number: uint64(len(n.sessions)), Ack: n.digest}
		fx.Session(way, &h, list)
	}
}

// choose has the session lead there that has the lowest id.
func (n *node) choose() {
	for _, s := range n.sessions {
		if n.first == nil || slices.Compare(s.route.Session[:], n.first.route.Session[:]) < 0 {
			n.first = s
		}
	}
}

// leased takes a node's answer to a beat. It may ask for the list; and it says
// which of a list are unknown to it: those are over. A broker that answers for
// a node that is gone says so, in case its Lost never came.
func (c *Core) leased(now time.Time, from wire.Peer, h *wire.Header, body []byte, fx *Effects) {
	n := c.nodes[h.Node]
	if n != nil {
		n.asked = false
	}
	if n != nil && h.Code == session.ErrWorkerLost {
		for _, s := range n.inOrder() {
			if s.Direct() || c.elsewhere(now, from, s) {
				continue
			}
			why := infer(session.ErrWorkerLost, session.Done, 0, "no broker knows its node %s any more", h.Node)
			if s.calls.InFlight() == 0 {
				c.fail(now, s, why, fx)
				continue
			}
			c.over(s, why, fx) // what became of its calls may be known: they are asked for
			s.calls.Hurry(now)
			c.arm(s, now)
		}
		return
	}
	if n == nil || h.Code != 0 {
		return
	}
	if n.denied { // by whoever has passed this on, and they know more by now
		n.denied = false
		for _, s := range n.sessions {
			s.denied = nil
		}
	}
	if h.Flags&wire.FlagAgain != 0 {
		list := make([]byte, 0, 16*len(n.sessions))
		for _, s := range n.inOrder() {
			list = append(list, s.route.Session[:]...)
		}
		c.renew(n, list, fx)
		return
	}
	for ; len(body) >= 16; body = body[16:] {
		if s := n.sessions[session.ID(body[:16])]; s != nil {
			c.over(s, &session.Error{Code: session.ErrSessionUnknown, Text: "its node does not know it any more", Remote: true}, fx)
			c.forget(s)
		}
	}
}

// inOrder returns the sessions that are kept there, in the order of their ids.
func (n *node) inOrder() []*Session {
	return slices.SortedFunc(maps.Values(n.sessions), func(a, b *Session) int { return slices.Compare(a.route.Session[:], b.route.Session[:]) })
}

func (c *Core) nodesInOrder() []*node {
	return slices.SortedFunc(maps.Values(c.nodes), func(a, b *node) int { return cmp.Compare(a.id, b.id) })
}
