package core

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// client is what the broker knows of one client process.
type client struct {
	id      uuid.UUID
	name    string
	peer    wire.Peer // where it was heard last, 0 if that broke
	said    bool      // it said Hello, so it beats
	waiting int       // opens queued or offered
	live    int       // sessions
	casts   int       // broadcasts
}

// hello takes who a peer says it is, and answers with what it may expect.
func (c *Core) hello(now time.Time, from wire.Peer, m *wire.Hello, fx *Effects) {
	if m.Min > wire.Version || m.Max < wire.MinVersion {
		c.bad(from, wire.KindHello, uuid.Nil, session.ErrVersion,
			fmt.Errorf("peer speaks protocol %d to %d, this broker %d to %d", m.Min, m.Max, wire.MinVersion, wire.Version), fx)
		return
	}
	if m.Role == wire.RoleClient {
		cl, err := c.client(m.ID, from)
		if err != nil {
			c.bad(from, wire.KindHello, uuid.Nil, session.ErrOverloaded, err, fx)
			return
		}
		cl.said, cl.name = true, m.Name
		every := time.Duration(m.Beat) * time.Millisecond
		if every <= 0 || every > c.cfg.Lease/3 {
			every = c.cfg.Lease / 3
		}
		c.clientBeats.Watch(now, m.ID, every, int(c.cfg.Lease/every))
	}
	fx.Control(from, &wire.Welcome{
		Version: min(m.Max, wire.Version), Broker: c.cfg.ID, Name: c.cfg.Name, Program: c.cfg.Program, Epoch: c.cfg.Epoch,
		Beat: wire.Millis(c.cfg.Beat), Misses: uint8(min(c.cfg.Misses, 255)), Lease: wire.Millis(c.cfg.Lease),
		Recovering: c.Recovering(now), MaxBody: wire.MaxEnvelope,
	})
}

var errPeers = errors.New("the broker knows as many clients as it may")

// client finds or makes the record of a client that was heard from peer.
func (c *Core) client(id uuid.UUID, peer wire.Peer) (*client, error) {
	cl := c.clients[id]
	if cl == nil {
		if len(c.clients) >= c.cfg.Peers {
			return nil, errPeers
		}
		cl = &client{id: id}
		c.clients[id] = cl
	}
	if cl.peer != peer {
		c.unmap(cl)
		cl.peer = peer
	}
	if peer != 0 {
		if c.clientAt[peer] != cl {
			c.clientAt[peer] = cl
		}
		if !cl.said {
			c.clientBeats.Forget(id)
		}
	}
	return cl, nil
}

// beat answers a beat, so that the peer knows this loop turns as well.
func (c *Core) beat(now time.Time, from wire.Peer, m *wire.Beat, fx *Effects) {
	if n := c.nodeAt[from]; n != nil {
		c.nodeBeat(now, n, m, fx)
	} else if cl := c.clientAt[from]; cl != nil && cl.said {
		c.clientBeats.Beat(now, cl.id)
	} else { // unknown, or given up while its sessions live on: it has to be watched anew
		fx.Control(from, &wire.Identify{Broker: c.cfg.ID, Epoch: c.cfg.Epoch})
		return
	}
	if !m.Reply {
		fx.Control(from, &wire.Beat{Epoch: c.cfg.Epoch, Reply: true, Queues: c.queuesOf(c.nodeAt[from])})
	}
}

// Fresh takes a connection that has just come up: its peer is asked who it is,
// so that a node brings its sessions at once and not at its next beat.
func (c *Core) Fresh(peer wire.Peer, fx *Effects) {
	fx.Control(peer, &wire.Identify{Broker: c.cfg.ID, Epoch: c.cfg.Epoch})
}

// Gone takes a connection that broke. Who was behind it may come back by
// another one until its beats run out.
func (c *Core) Gone(now time.Time, peer wire.Peer, fx *Effects) {
	if n := c.nodeAt[peer]; n != nil {
		delete(c.nodeAt, peer)
		n.peer, n.cut = 0, now
		c.seat(n) // others get what is opened meanwhile
		fx.Events = append(fx.Events, Event{What: EventNodeCut, Node: n.id, Name: n.name})
	}
	if cl := c.clientAt[peer]; cl != nil {
		delete(c.clientAt, peer)
		cl.peer = 0
		if !cl.said { // it promised no beats: it has a lease's time to be heard again
			c.clientBeats.Watch(now, cl.id, c.cfg.Lease/3, 3)
		}
	}
}

// clientGone gives up the queue places of a client that is not there any more.
// Its sessions are its nodes' business: their leases end them.
func (c *Core) clientGone(now time.Time, id uuid.UUID, fx *Effects) {
	cl := c.clients[id]
	if cl == nil {
		return
	}
	cl.said = false
	c.castsOf(cl, fx)
	if cl.waiting > 0 {
		for _, o := range c.opensOf(cl) {
			if o.unasked { // it may be with another broker: the session's lease judges
				continue
			}
			c.drop(now, o, session.ErrWithdrawn, fx)
		}
	}
	c.forget(cl)
}

// forget drops the record of a client of whom nothing is left.
func (c *Core) forget(cl *client) {
	if cl.said || cl.waiting > 0 || cl.live > 0 || cl.casts > 0 {
		return
	}
	c.unmap(cl)
	delete(c.clients, cl.id)
}

// unmap forgets where a client was heard, unless another one has been heard
// there since.
func (c *Core) unmap(cl *client) {
	if c.clientAt[cl.peer] == cl {
		delete(c.clientAt, cl.peer)
	}
}
