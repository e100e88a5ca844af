package core

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// lease is one session that lives on a node.
type lease struct {
	node   *node
	client *client
	live   wire.Live
	since  time.Time
	first  bool // a call came along with its open
	once   bool // and the session ends with it: its client gets the answer, and the route only if it asks again
}

func (l *lease) key() session.OpenKey {
	return session.OpenKey{Client: l.live.Client, Request: l.live.Request}
}

// accept takes a node's word that a session lives there. A word that later
// changes have overtaken says nothing any more: the session may have ended
// since. If it has not, the gap in the numbers brings it back.
func (c *Core) accept(now time.Time, from wire.Peer, m *wire.Accept, fx *Effects) {
	n := c.nodeAt[from]
	if n == nil {
		c.stranger(from, wire.KindAccept, fx)
		return
	}
	if !n.serves(m.Live.Pool) {
		c.bad(from, wire.KindAccept, m.Live.Request, session.ErrBadMessage, fmt.Errorf("node %s has not registered a pool %.40q", n.id, m.Live.Pool), fx)
		return
	}
	stale := m.Seq < n.seq
	c.heard(now, n, m.Seq, fx)
	if !stale {
		c.adopt(now, n, &m.Live, fx)
	}
}

// adopt records a session that a node says lives there, and tells its client
// if that waits for it.
func (c *Core) adopt(now time.Time, n *node, live *wire.Live, fx *Effects) {
	key := session.OpenKey{Client: live.Client, Request: live.Request}
	l := n.live[live.Session]
	switch {
	case live.Over:
		if l != nil { // its Ended was lost
			c.end(now, l, session.ErrSessionClosed, fx)
		}
		c.overAlready(now, key, n, live, fx)
		return
	case l != nil:
		c.update(l, live)
		n.quarantine(l, live.Quarantined)
		return
	}
	holder := holderOf(live)
	cl, err := c.client(holder, c.peerOf(holder))
	if err != nil || len(n.live) >= n.livesMost() {
		c.revoke(n, key, session.ErrOverloaded, fx)
		return
	}
	l = &lease{node: n, client: cl, live: *live, since: now}
	l.live.Pool = n.poolName(live.Pool)
	l.first, l.once = live.First, live.Once
	l.live.Quarantined = false
	n.quarantine(l, live.Quarantined)
	n.live[live.Session] = l
	cl.live++
	c.settleOpen(now, key, l, fx)
	fx.Events = append(fx.Events, Event{What: EventOpened, Node: n.id, Name: n.name, Session: live.Session, Pool: live.Pool})
}

// livesMost bounds the sessions that a node may claim: its slots twice, for the
// news of an end may come after that of the next session there.
func (n *node) livesMost() int {
	slots := 0
	for _, p := range n.pools {
		slots += p.Slots
	}
	return 2*slots + 64
}

// holderOf is the client whose session it is.
func holderOf(live *wire.Live) uuid.UUID {
	if live.Holder != uuid.Nil {
		return live.Holder
	}
	return live.Client
}

// update takes a newer word on a session that is known: another client may
// hold it now.
func (c *Core) update(l *lease, live *wire.Live) {
	if live.Epoch < l.live.Epoch {
		return
	}
	l.live.Epoch, l.live.Key, l.live.Holder = live.Epoch, live.Key, live.Holder
	if holder := holderOf(live); holder != l.client.id {
		if cl, err := c.client(holder, c.peerOf(holder)); err == nil {
			old := l.client
			old.live--
			cl.live++
			l.client = cl
			c.forget(old)
		}
	}
}

// overAlready takes a node's word on a session that has ended there, whose
// reply it keeps: an open that still waits for it here gets the route, and the
// slot that was meant for it is free.
func (c *Core) overAlready(now time.Time, key session.OpenKey, n *node, live *wire.Live, fx *Effects) {
	if o := c.opens[key]; o != nil {
		if o.client.peer != 0 && !o.withdrawn && (o.node != n || !live.Once) { // else its client got the answer
			fx.Control(o.client.peer, c.route(&lease{node: n, live: *live}))
		}
		switch {
		case o.state == openQueued:
			c.table.Withdraw(key)
		case o.node != n:
			c.revoke(o.node, key, session.ErrWithdrawn, fx)
			c.table.Free(now, o.node.id, o.ask.Pool)
			delete(o.node.offers, key)
		default:
			c.table.Free(now, n.id, o.ask.Pool)
			delete(n.offers, key)
		}
		cl := o.client
		c.leave(o)
		c.forget(cl)
		fx.Events = append(fx.Events,
			Event{What: EventOpened, Node: n.id, Name: n.name, Session: live.Session, Pool: live.Pool},
			Event{What: EventEnded, Node: n.id, Name: n.name, Session: live.Session, Pool: live.Pool, Code: session.ErrSessionClosed})
	}
	c.past.add(now, pastOpen{key: key, code: session.ErrSessionClosed}, n, live)
	c.pump(now, fx)
}

func (c *Core) peerOf(id uuid.UUID) wire.Peer {
	if cl := c.clients[id]; cl != nil {
		return cl.peer
	}
	return 0
}

// settleOpen joins a session with the open it came from, and sees to it that
// its slot is counted and that no open has two sessions.
func (c *Core) settleOpen(now time.Time, key session.OpenKey, l *lease, fx *Effects) {
	o := c.opens[key]
	if o == nil || o.state != openOffered || o.node != l.node {
		c.table.Take(l.node.id, l.live.Pool) // else its slot is counted since the grant
	}
	if first := c.taken[key]; first != nil { // from a node that was cut off while another was given its offer
		c.revoke(l.node, key, session.ErrWithdrawn, fx)
		return
	}
	c.taken[key] = l
	if o == nil {
		if p, over := c.past.find(key); over && p.code != session.ErrWorkerLost {
			c.revoke(l.node, key, p.code, fx)
			return
		}
		c.past.forget(key) // what was given up for lost lives: its lease judges, for another broker may have seen it all along
		c.tellRoute(l, fx)
		return
	}
	switch {
	case o.state == openQueued:
		c.table.Withdraw(key)
	case o.node == l.node:
		delete(l.node.offers, key)
	default: // on offer elsewhere: that is taken back
		c.revoke(o.node, key, session.ErrWithdrawn, fx)
		c.table.Free(now, o.node.id, o.ask.Pool)
		delete(o.node.offers, key)
	}
	l.first = o.first
	l.once = o.call.once
	c.leave(o)
	if o.withdrawn {
		c.takeBack(l, session.ErrWithdrawn, fx)
		return
	}
	if !l.once {
		c.tellRoute(l, fx)
	}
}

// tellRoute sends the route to the client that asked.
func (c *Core) tellRoute(l *lease, fx *Effects) {
	if l.client.peer != 0 && l.client.id == l.live.Client {
		fx.Control(l.client.peer, c.route(l))
	}
}

// route is what its client is told of a session, good until it is called again.
func (c *Core) route(l *lease) *wire.Opened {
	c.said.opened = wire.Opened{
		Request: l.live.Request, Broker: c.cfg.ID, Node: l.node.id, NodeName: l.node.name, PID: l.node.pid, Pool: l.live.Pool,
		Worker: l.live.Worker, Incarnation: l.live.Incarnation, Session: l.live.Session, Key: l.live.Key,
		Epoch: l.live.Epoch, Endpoint: l.node.endpoint, Limits: l.live.Limits,
	}
	return &c.said.opened
}

// ended takes a node's word that a session is over.
func (c *Core) ended(now time.Time, from wire.Peer, m *wire.Ended, fx *Effects) {
	n := c.nodeAt[from]
	if n == nil {
		c.stranger(from, wire.KindEnded, fx)
		return
	}
	c.heard(now, n, m.Seq, fx)
	if l := n.live[m.Session]; l != nil {
		c.end(now, l, m.Code, fx)
		c.pump(now, fx)
	}
}

// end forgets a session and frees its slot.
func (c *Core) end(now time.Time, l *lease, code session.Code, fx *Effects) {
	id := l.live.Session
	l.node.quarantine(l, false)
	delete(l.node.live, id)
	l.client.live--
	c.table.Free(now, l.node.id, l.live.Pool)
	if key := l.key(); c.taken[key] == l {
		delete(c.taken, key)
		p := pastOpen{key: key, code: code} // unknown, if a call came along: a broker that was restarted does not know
		p.unknown = code != session.ErrWorkerLost || l.node.mayHaveStarted(id)
		if l.first && code != session.ErrWorkerLost {
			c.past.add(now, p, l.node, &l.live)
		} else {
			c.past.add(now, p, nil, nil)
		}
	}
	c.forget(l.client)
	fx.Events = append(fx.Events, Event{What: EventEnded, Node: l.node.id, Name: l.node.name, Session: id, Pool: l.live.Pool, Code: code})
}

// leasesOf returns sessions in a fixed order.
func leasesOf(m map[session.ID]*lease) []*lease {
	return slices.SortedFunc(maps.Values(m), func(a, b *lease) int {
		return cmp.Or(cmp.Compare(a.live.Worker, b.live.Worker), slices.Compare(a.live.Session[:], b.live.Session[:]))
	})
}
