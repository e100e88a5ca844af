package core

import (
	"errors"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Flush tells clients of the answers that the last Steps have brought. Whoever
// takes in several messages at once calls it after the last, so that they leave
// as one; Tick does too.
func (c *Core) Flush(fx *Effects) {
	for _, b := range c.unflushed {
		if b.fresh = false; c.casts[b.key] == b {
			c.push(b, fx)
		}
	}
	clear(c.unflushed)
	c.unflushed = c.unflushed[:0]
}

// tellSnapshot tells the client who the members are.
func (c *Core) tellSnapshot(b *broadcast, fx *Effects) {
	if b.client.peer == 0 {
		return
	}
	m := wire.Answered{Request: b.key.Request, Broker: c.cfg.ID, Run: b.run, Try: b.try, Base: b.have, First: b.have + 1, Known: true}
	for _, id := range b.members {
		m.Snapshot = wire.AppendMember(m.Snapshot, id)
	}
	fx.Control(b.client.peer, &m)
}

// push sends what is settled, as far as the client has confirmed what came
// before, and at the end that it is complete.
func (c *Core) push(b *broadcast, fx *Effects) {
	if b.client.peer == 0 {
		return
	}
	behind := 0
	for _, m := range b.settled[:b.sent-b.have] {
		behind += len(m.Body)
	}
	for b.sent < b.last && b.sent-b.have < answersBehind && behind < answersBytes {
		m := wire.Answered{Request: b.key.Request, Broker: c.cfg.ID, Run: b.run, Try: b.try, Base: b.have, First: b.sent + 1}
		size := 0
		for b.sent < b.last && b.sent-b.have < answersBehind {
			next := &b.settled[b.sent-b.have]
			if size > 0 && size+len(next.Body) > answersSize {
				break
			}
			size += len(next.Body)
			m.Members = append(m.Members, *next)
			b.sent++
		}
		behind += size
		fx.Control(b.client.peer, &m)
	}
	if b.open == 0 && b.sent == b.last && !b.told {
		c.tellComplete(b, fx)
	}
}

func (c *Core) tellComplete(b *broadcast, fx *Effects) {
	b.told = true
	fx.Control(b.client.peer, &wire.Complete{
		Request: b.key.Request, Broker: c.cfg.ID, Run: b.run, Members: uint32(len(b.members)),
		Answered: b.counts[session.FateAnswered], Failed: b.counts[session.FateFailed], Died: b.counts[session.FateDied],
		Hung: b.counts[session.FateHung], Left: b.counts[session.FateLeft], Deadline: b.counts[session.FateDeadline], Busy: b.counts[session.FateBusy],
	})
}

// confirm forgets the answers up to number have.
func (c *Core) confirm(b *broadcast, have uint32) {
	have = min(have, b.sent)
	if have <= b.have {
		return
	}
	gone := b.settled[:have-b.have]
	for i := range gone {
		b.size -= len(gone[i].Body)
		c.castBytes -= len(gone[i].Body)
	}
	clear(gone)
	b.settled = b.settled[have-b.have:]
	b.have = have
}

// heardOf takes a client's word on what it has.
func (c *Core) heardOf(now time.Time, from wire.Peer, m *wire.Heard, fx *Effects) {
	b := c.casts[session.OpenKey{Client: m.Client, Request: m.Request}]
	switch {
	case b == nil:
		return
	case b.client.peer != from && b.client.peer != 0:
		c.bad(from, wire.KindHeard, m.Request, session.ErrBadMessage, errors.New("heard of another client's broadcast"), fx)
		return
	case m.Done:
		c.past.add(now, pastOpen{key: b.key, code: session.ErrWithdrawn}, nil, nil)
		c.endCast(b, fx)
		return
	}
	b.heard = now
	if m.Broker == c.cfg.ID && m.Run == b.run {
		c.confirm(b, m.Have)
		c.push(b, fx)
	}
}
