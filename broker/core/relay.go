package core

import (
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// toWorker passes a holder's message on to the node that its header names,
// with the way back written into it.
func (c *Core) toWorker(now time.Time, from wire.Peer, kind wire.Kind, env []byte, fx *Effects) {
	id, _, ok := wire.RouteOf(env)
	if !ok {
		c.bad(from, kind, uuid.Nil, session.ErrBadMessage, wire.ErrShort, fx)
		return
	}
	n := c.nodes[id]
	if n == nil || n.peer == 0 {
		c.cannotPass(now, from, env, n != nil, fx)
		return
	}
	wire.SetVia(env, from)
	fx.Pass(n.peer, env)
	c.counts.Relayed++
}

// cannotPass answers for a node that is not there. One that is only cut off,
// or may not be back since this broker's start, is worth another try; of any
// other nothing is known here, and its holder may know more.
func (c *Core) cannotPass(now time.Time, from wire.Peer, env []byte, cut bool, fx *Effects) {
	h, _, err := wire.ParseHeader(env)
	if err != nil {
		c.bad(from, wire.KindOf(env), uuid.Nil, session.ErrBadMessage, err, fx)
		return
	}
	code, text := session.ErrWorkerLost, "node "+h.Node.String()+" is not known to this broker"
	if cut || c.Recovering(now) {
		if cl := c.clientAt[from]; cl != nil && cl.said {
			c.awaited.add(h.Node, from)
		}
		code, text = session.ErrRecovering, "node "+h.Node.String()+" is not back yet"
	}
	c.counts.NotPassed++
	if c.buried.tellAgain(from, &h, fx) {
		return
	}
	h.Via = 0
	switch h.Kind {
	case wire.KindClose:
		c.answer(from, h, wire.KindClosed, code, fx)
	case wire.KindLease:
		c.answer(from, h, wire.KindLeased, code, fx)
	default:
		fx.Fail(from, h, code, session.NotRun, text, "")
	}
}

func (c *Core) answer(to wire.Peer, h wire.Header, kind wire.Kind, code session.Code, fx *Effects) {
	h.Kind, h.Code, h.Flags, h.Key = kind, code, 0, session.Key{}
	fx.Session(to, &h, nil)
}

var errNotThatNode = errors.New("a session message from somebody who is not that node")

// toHolder passes a node's message on by the way back that came with the call.
func (c *Core) toHolder(from wire.Peer, kind wire.Kind, env []byte, fx *Effects) {
	id, via, ok := wire.RouteOf(env)
	if !ok {
		c.bad(from, kind, uuid.Nil, session.ErrBadMessage, wire.ErrShort, fx)
		return
	}
	n := c.nodeAt[from]
	if n == nil || n.id != id {
		c.bad(from, kind, uuid.Nil, session.ErrBadMessage, errNotThatNode, fx)
		if n == nil {
			fx.Control(from, &wire.Identify{Broker: c.cfg.ID, Epoch: c.cfg.Epoch})
		}
		return
	}
	if via == 0 {
		via = n.holder(env)
	}
	if via == 0 || c.nodeAt[via] != nil {
		c.counts.NotPassed++ // nobody to give it to: its holder asks again by a new way
		return
	}
	fx.Pass(via, env)
	c.counts.Relayed++
}

// holder is the peer of the client whose session the message is about, 0 where that is
// not there: a node that has not heard it yet does not know the way.
func (n *node) holder(env []byte) wire.Peer {
	id, _ := wire.SessionOf(env)
	if l := n.live[id]; l != nil {
		return l.client.peer
	}
	return 0
}
