package core

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// broker is what the client knows of one of its brokers.
type broker struct {
	peer     wire.Peer
	id       uuid.UUID
	epoch    uint64
	welcomed bool
	silent   bool      // it was there once and does not answer any more
	hello    time.Time // when Hello is due again
	beat     time.Duration
	pacer    *heartbeat.Pacer
	refusal  *session.Error // why it will not talk, if it said so
}

// helloAgain is after how long an unanswered Hello is repeated.
const helloAgain = 500 * time.Millisecond

// AddBroker makes the peer that a connection leads to one of the client's
// brokers.
func (c *Core) AddBroker(now time.Time, peer wire.Peer, fx *Effects) {
	b := &broker{peer: peer}
	c.brokers[peer] = b
	c.order = append(c.order, b)
	c.hello(now, b, fx)
}

// Connected reports whether some broker has welcomed the client, and if all
// have refused it, why.
func (c *Core) Connected() (bool, *session.Error) {
	var why *session.Error
	refusals := 0
	for _, b := range c.order {
		if b.welcomed {
			return true, nil
		}
		if b.refusal != nil {
			why = b.refusal
			refusals++
		}
	}
	if refusals < len(c.order) {
		return false, nil // one of the others may welcome it yet
	}
	return false, why
}

func (c *Core) hello(now time.Time, b *broker, fx *Effects) {
	b.hello = now.Add(helloAgain)
	fx.Control(b.peer, &wire.Hello{
		Min: wire.MinVersion, Max: wire.Version, Role: wire.RoleClient, ID: c.cfg.ID, Name: c.cfg.Name, Program: c.cfg.Program,
		Beat: wire.Millis(c.cfg.Beat),
	})
}

// Renewed takes that the connection to a broker stands again after it broke:
// whoever is there now has not heard of this client.
func (c *Core) Renewed(now time.Time, peer wire.Peer, fx *Effects) {
	if b := c.brokers[peer]; b != nil {
		c.hello(now, b, fx)
	} else if d := c.directAt[peer]; d != nil {
		c.silentNode(now, d, "its connection broke", fx)
	}
}

// welcome takes a broker's answer to Hello. Whatever waits for an answer is
// sent again: the one that took it before may be gone.
func (c *Core) welcome(now time.Time, b *broker, m *wire.Welcome, fx *Effects) {
	b.id, b.epoch, b.welcomed, b.silent, b.refusal = m.Broker, m.Epoch, true, false, nil
	b.beat = c.cfg.Beat
	if b.beat <= 0 {
		b.beat = max(time.Duration(m.Lease)*time.Millisecond/4, 10*time.Millisecond)
		if beat := time.Duration(m.Beat) * time.Millisecond; beat > 0 {
			b.beat = min(b.beat, beat)
		}
	}
	b.pacer = heartbeat.NewPacer(b.beat)
	c.beats.Watch(now, b.peer, b.beat, c.cfg.Misses)
	fx.Events = append(fx.Events, Event{What: EventWelcome, Peer: b.peer, Text: m.Name})
	for _, o := range c.opensInOrder() {
		if !o.sent || o.broker == b.peer || !c.there(o.broker) {
			c.ask(now, o, fx)
		}
	}
	for _, k := range c.castsInOrder() {
		if !k.sent || k.broker == b.peer || !c.there(k.broker) {
			c.askCast(now, k, fx)
		}
	}
	for _, s := range c.Sessions() {
		if s.broker == b.peer || !c.there(s.broker) {
			s.calls.Hurry(now)
			c.again(now, s, fx)
		}
	}
}

func (c *Core) there(peer wire.Peer) bool {
	b := c.brokers[peer]
	return b != nil && b.welcomed
}

// watchBrokers beats, and says Hello again to those that have not answered or
// have gone silent.
func (c *Core) watchBrokers(now time.Time, fx *Effects) {
	for _, change := range c.beats.Check(now) {
		if d := c.directAt[change.Who]; d != nil && change.To == heartbeat.Gone {
			c.silentNode(now, d, fmt.Sprintf("no answer for %s", change.Silent.Round(time.Millisecond)), fx)
		}
		if b := c.brokers[change.Who]; b != nil && change.To == heartbeat.Gone {
			b.welcomed, b.silent, b.hello = false, true, now
			fx.Events = append(fx.Events, Event{What: EventSilent, Peer: b.peer, Text: fmt.Sprintf("no answer for %s", change.Silent.Round(time.Millisecond))})
			c.moveAway(now, b.peer)
		}
	}
	for _, b := range c.order {
		switch {
		case b.welcomed && b.pacer.Due(now):
			fx.Control(b.peer, &wire.Beat{})
		case !b.welcomed && !now.Before(b.hello):
			c.hello(now, b, fx)
		}
	}
}

// moveAway has everything that went by a silent broker go by another one, if
// there is one.
func (c *Core) moveAway(now time.Time, silent wire.Peer) {
	for _, s := range c.Sessions() {
		if s.broker == silent {
			s.calls.Hurry(now)
			c.arm(s, now)
		}
	}
	for _, o := range c.opensInOrder() {
		if o.broker == silent {
			o.again = now
		}
	}
	for _, k := range c.casts {
		if k.broker == silent {
			k.again = now
		}
	}
}

// refusedBy takes a broker's error message.
func (c *Core) refusedBy(b *broker, m *wire.Error, fx *Effects) {
	fx.Events = append(fx.Events, Event{What: EventRefusedBy, Peer: b.peer, Code: m.Code, Text: m.Text})
	if m.Of == wire.KindHello || m.Code == session.ErrVersion {
		b.refusal = &session.Error{Code: m.Code, Outcome: session.NotRun, Text: m.Text, Remote: true}
	}
}
