package core

import (
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// decline takes a node's no. A worker that could not open is the client's to
// know; everything else is for another node, or for later.
func (c *Core) decline(now time.Time, from wire.Peer, m *wire.Decline, fx *Effects) {
	n := c.nodeAt[from]
	if n == nil {
		c.stranger(from, wire.KindDecline, fx)
		return
	}
	c.heard(now, n, m.Seq, fx)
	key := session.OpenKey{Client: m.Client, Request: m.Request}
	o := n.offers[key]
	if o == nil || m.Try != o.try {
		return // an answer to a copy of an offer that came to nothing before
	}
	delete(n.offers, key)
	c.table.Free(now, n.id, o.ask.Pool)
	if o.withdrawn || m.Code == session.ErrOpenFailed || m.Code == session.ErrBadMessage || m.Code == session.ErrWithdrawn {
		if !o.withdrawn {
			c.refuse(o.client.peer, key, m.Code, m.Text, fx)
		}
		c.finish(now, o, m.Code)
	} else {
		c.table.Hold(n.id, o.ask.Pool, now.Add(c.cfg.Beat/4))
		c.requeue(now, o, fx)
	}
	c.pump(now, fx)
}

// requeue puts an open back into the queue whose offer came to nothing.
func (c *Core) requeue(now time.Time, o *open, fx *Effects) {
	o.state, o.node, o.named = openQueued, nil, false
	o.try++
	switch {
	case o.withdrawn:
		c.finish(now, o, session.ErrWithdrawn)
		return
	case o.unasked: // its client may ask; until then it is another broker's to place
		c.leave(o)
		c.forget(o.client)
		return
	}
	if err := c.table.Requeue(now, o.grant); err != nil {
		c.refuse(o.client.peer, o.key, session.ErrNoWorker, err.Error(), fx)
		c.finish(now, o, session.ErrNoWorker)
	}
}

// unknown ends an open whose call may have run on a node that is gone.
func (c *Core) unknown(now time.Time, o *open, n *node, fx *Effects) {
	if o.client.peer != 0 && !o.withdrawn {
		fx.Control(o.client.peer, &wire.Refused{
			Request: o.key.Request, Code: session.ErrWorkerLost, Unknown: true, Text: "node " + n.name + " was lost while it was on offer there",
		})
	}
	cl := o.client
	c.leave(o)
	c.past.add(now, pastOpen{key: o.key, code: session.ErrWorkerLost, unknown: true}, nil, nil)
	c.forget(cl)
}
