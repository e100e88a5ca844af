package core

import (
	"fmt"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// epochMost bounds the epochs that are believed: one that is made up must not
// leave the masters to come none to claim.
const epochMost = 1 << 62

// SetEpoch raises the master epoch of a broker that goes on as master. Lower
// ones are ignored.
func (c *Core) SetEpoch(epoch uint64) {
	c.cfg.Epoch = max(c.cfg.Epoch, epoch)
	for _, n := range c.nodes {
		if n.asked != nil {
			n.asked.Epoch = c.cfg.Epoch
		}
	}
}

// hear takes the highest master epoch that a peer knows of. One above its own
// makes a broker doubt that it is the master.
func (c *Core) hear(epoch uint64, fx *Effects) {
	if c.cfg.Elected && epoch > c.cfg.Epoch && epoch < epochMost {
		c.later = max(c.later, epoch)
		fx.Outdated = max(fx.Outdated, epoch)
	}
}

// outdated reports that there may be a later master. A broker in that doubt
// judges nobody and gives nothing away: what it has offered may have been taken
// although its nodes do not answer it any more.
func (c *Core) outdated() bool { return c.later > c.cfg.Epoch }

// refusedBy takes a peer's error. Only a node's refusal of an epoch is one that
// a broker expects.
func (c *Core) refusedBy(from wire.Peer, m *wire.Error, fx *Effects) {
	if m.Code != session.ErrEpoch {
		c.bad(from, m.Kind(), uuid.Nil, session.ErrKindUnknown, fmt.Errorf("a broker takes no error of its own %s: %.200s", m.Of, m.Text), fx)
		return
	}
	c.counts.Outdated++
	fx.Events = append(fx.Events, Event{What: EventOutdated, Peer: from, Code: m.Code, Text: m.Of.String() + ": " + m.Text})
	c.hear(m.Epoch, fx) // one that is not above its own was meant for whoever was here before
}
