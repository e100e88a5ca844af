package core

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// The masters of a cell follow each other, and each claims a higher epoch. A
// node may hear two of them at a time, at one endpoint or at several: what
// counts is the highest epoch that any of them has shown.

// known is the highest epoch that has been heard of in a cell.
func (c *Core) known(cell uuid.UUID) (epoch uint64) {
	for _, b := range c.brokers {
		if b.id == cell {
			epoch = max(epoch, b.epoch)
		}
	}
	return epoch
}

// claimOf is the epoch under which a broker says something, and of which cell.
// Not ok: the message claims nothing.
func claimOf(b *broker, m wire.Control) (cell uuid.UUID, epoch uint64, ok bool) {
	switch m := m.(type) {
	case *wire.Welcome:
		return m.Broker, m.Epoch, true
	case *wire.Identify:
		return m.Broker, m.Epoch, true
	case *wire.Registered:
		return b.id, m.Epoch, true
	case *wire.Beat:
		return b.id, m.Epoch, true
	case *wire.Offer:
		return b.id, m.Epoch, true
	case *wire.Revoke:
		return b.id, m.Epoch, true
	case *wire.Drain:
		return b.id, m.Epoch, true
	case *wire.Cast:
		return b.id, m.Epoch, true
	default:
		return uuid.Nil, 0, false
	}
}

// outdated refuses what a master says whose epoch is over. An offer is not
// declined: that would say that nothing came of an earlier copy of it, and the
// master would give the open to another node. It is no broker of
// this node any more until it, or another one at its endpoint, shows a newer
// one. A newer epoch is taken note of.
func (c *Core) outdated(now time.Time, b *broker, m wire.Control, fx *Effects) bool {
	cell, epoch, claims := claimOf(b, m)
	if !claims {
		return false
	}
	known := c.known(cell)
	if epoch >= known {
		if cell != b.id { // another cell, or broker, answers there now
			b.id, b.welcomed = cell, false
		}
		b.epoch = epoch
		return false
	}
	text := fmt.Sprintf("said under master epoch %d, %d is known", epoch, known)
	fx.Control(b.peer, &wire.Error{Code: session.ErrEpoch, Text: text, Of: m.Kind(), Epoch: known})
	fx.Events = append(fx.Events, Event{What: EventOutdated, Peer: b.peer, Code: session.ErrEpoch, Text: m.Kind().String() + " " + text})
	if b.registered || b.welcomed {
		b.welcomed, b.registered = false, false
		c.beats.Forget(b.peer)
		c.alone(now)
		c.forgive(now, b.peer)
	}
	b.hello = now.Add(helloAgain)
	return true
}
