package core

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// broker is what the node knows of one of its brokers.
type broker struct {
	peer       wire.Peer
	id         uuid.UUID
	epoch      uint64
	seq        uint64 // changes reported to it
	welcomed   bool
	registered bool
	hello      time.Time // when Hello or Register is due again
	pacer      *heartbeat.Pacer
	queues     []wire.Queue // as it told them last
	told       time.Time    // when
}

// count numbers the next thing that the broker has to hear: every Accept,
// Decline and Ended has a number of its own, so that one that is lost leaves a
// gap.
func (b *broker) count() uint64 {
	b.seq++
	return b.seq
}

// helloAgain is after how long an unanswered Hello or Register is repeated.
const helloAgain = 500 * time.Millisecond

// liveMost is how many sessions one Register carries.
const liveMost = 2048

// AddBroker makes the peer that a connection leads to one of the node's
// brokers.
func (c *Core) AddBroker(now time.Time, peer wire.Peer, fx *Effects) {
	b := &broker{peer: peer, pacer: heartbeat.NewPacer(c.cfg.Beat)}
	c.brokers[peer] = b
	c.inOrder = slices.SortedFunc(maps.Values(c.brokers), func(a, b *broker) int { return cmp.Compare(a.peer, b.peer) })
	c.hello(now, b, fx)
}

// RemoveBroker forgets one of the node's brokers.
func (c *Core) RemoveBroker(peer wire.Peer) {
	delete(c.brokers, peer)
	c.inOrder = slices.DeleteFunc(c.inOrder, func(b *broker) bool { return b.peer == peer })
	c.beats.Forget(peer)
}

// Registered reports whether some broker has confirmed this node.
func (c *Core) Registered() bool {
	for _, b := range c.brokers {
		if b.registered {
			return true
		}
	}
	return false
}

func (c *Core) hello(now time.Time, b *broker, fx *Effects) {
	b.hello = now.Add(helloAgain)
	fx.Control(b.peer, &wire.Hello{
		Min: wire.MinVersion, Max: wire.Version, Role: wire.RoleNode, ID: wire.NodeUUID(c.cfg.Node), Name: c.cfg.Name,
		Program: c.cfg.Program, Beat: wire.Millis(c.cfg.Beat),
	})
}

// fromBroker takes a control message of one of the node's brokers.
func (c *Core) fromBroker(now time.Time, b *broker, m wire.Control, fx *Effects) {
	if c.outdated(now, b, m, fx) {
		return
	}
	if b.registered {
		c.beats.Beat(now, b.peer)
	}
	switch m := m.(type) {
	case *wire.Welcome:
		c.welcome(now, b, m, fx)
	case *wire.Identify:
		c.identify(now, b, m, fx)
	case *wire.Registered:
		c.registered(now, b, m, fx)
	case *wire.Beat:
		b.queues, b.told = m.Queues, now
	case *wire.Offer:
		c.offer(now, b, m, fx)
	case *wire.Revoke:
		c.revoke(now, m, fx)
	case *wire.Cast:
		c.cast(now, b, m, fx)
	case *wire.Drain:
		fx.Drain = &Drain{Deadline: time.Duration(m.Deadline) * time.Millisecond}
	case *wire.Error:
		fx.Events = append(fx.Events, Event{What: EventRefusedBy, Peer: b.peer, Code: m.Code, Text: m.Text})
	default:
		c.badFrom(b.peer, m.Kind(), session.ErrKindUnknown, fmt.Errorf("a node takes no %s", m.Kind()), fx)
	}
}

// identify answers a broker that does not know this connection. One that was
// known before is told all at once, without waiting for its Welcome.
func (c *Core) identify(now time.Time, b *broker, m *wire.Identify, fx *Effects) {
	c.introduce(now, b, b.welcomed && b.id == m.Broker, fx)
}

// Renewed takes that the connection to a broker stands again after it broke:
// whoever is there now has not heard of this node.
func (c *Core) Renewed(now time.Time, peer wire.Peer, fx *Effects) {
	if b := c.brokers[peer]; b != nil {
		c.introduce(now, b, b.welcomed, fx)
	}
}

// introduce says who this is, and to one that is expected to be as before all
// the rest.
func (c *Core) introduce(now time.Time, b *broker, known bool, fx *Effects) {
	b.welcomed, b.registered, b.queues = false, false, nil
	c.alone(now)
	c.hello(now, b, fx)
	if known {
		c.register(now, b, fx)
	}
}

// alone stops the leases' clocks where no broker is left.
func (c *Core) alone(now time.Time) {
	if !c.Registered() && c.still.IsZero() {
		c.still = now
	}
}

func (c *Core) welcome(now time.Time, b *broker, m *wire.Welcome, fx *Effects) {
	b.id = m.Broker
	b.epoch = m.Epoch
	b.welcomed = true
	c.register(now, b, fx)
}

// register brings a broker all there is to know, in as many parts as it
// takes.
func (c *Core) register(now time.Time, b *broker, fx *Effects) {
	b.hello = now.Add(helloAgain)
	m := wire.Register{
		Seq: b.seq, Node: c.cfg.Node, Secret: c.cfg.Secret, Name: c.cfg.Name, Host: c.cfg.Host, PID: c.cfg.PID, Endpoint: c.cfg.Endpoint,
		Labels: c.cfg.Labels, Beat: wire.Millis(c.cfg.Beat), Misses: uint8(min(c.cfg.Misses, 255)), Epoch: b.epoch, Drain: c.draining,
	}
	for i := range c.cfg.Pools {
		p := c.pools[c.cfg.Pools[i].Name]
		m.Pools = append(m.Pools, wire.Pool{
			Name: p.Name, Slots: p.Slots, Methods: p.Methods, Locked: p.Locked, Policy: p.Policy, Value: p.value, Least: p.Least, Most: p.Most,
		})
	}
	var live []wire.Live
	for _, s := range c.Sessions() {
		one := s.live() // also of one that ends before any broker was told of it: it may have run its call
		if s.state == stateStarting {
			one.Starting, one.Try = true, s.try
		}
		live = append(live, one)
	}
	live = append(live, c.past.carried()...)
	for {
		n := min(len(live), liveMost)
		m.Live, live = live[:n], live[n:]
		m.More = len(live) > 0
		fx.Control(b.peer, &m)
		if !m.More {
			return
		}
		m.Part++
	}
}

func (c *Core) registered(now time.Time, b *broker, m *wire.Registered, fx *Effects) {
	if m.Again {
		c.register(now, b, fx)
		return
	}
	if b.registered {
		return
	}
	b.registered, b.welcomed = true, true // it may have overtaken the Welcome
	c.still = time.Time{}
	for _, cl := range c.clients { // leases stood still: they run anew
		cl.beat = now
	}
	c.republish(b, fx)
	c.beats.Watch(now, b.peer, c.cfg.Beat, c.cfg.Misses)
	fx.Events = append(fx.Events, Event{What: EventRegistered, Peer: b.peer, Text: b.id.String()})
}

// watchBrokers beats, repeats what was not answered, and notices brokers that
// have gone silent.
func (c *Core) watchBrokers(now time.Time, fx *Effects) {
	for _, change := range c.beats.Check(now) {
		if b := c.brokers[change.Who]; b != nil && change.To == heartbeat.Gone {
			b.welcomed, b.registered, b.queues = false, false, nil
			fx.Events = append(fx.Events, Event{What: EventBrokerLost, Peer: b.peer, Text: fmt.Sprintf("no answer for %s", change.Silent.Round(time.Millisecond))})
			b.hello = now
			c.alone(now)
			c.forgive(now, b.peer)
		}
	}
	for _, b := range c.inOrder {
		switch {
		case b.registered && b.pacer.Due(now):
			fx.Control(b.peer, &wire.Beat{Seq: b.seq, Epoch: c.known(b.id), Late: wire.Millis(c.late), Drain: c.draining, Values: c.values(), Sizes: c.sizes(now)})
			c.late = 0
			c.mourn(b, fx)
		case b.registered || now.Before(b.hello):
		case b.welcomed:
			c.register(now, b, fx)
		default:
			c.hello(now, b, fx)
		}
	}
}

// forgive starts the lease anew of every client whose beats came by a broker
// that is gone: it needs time to notice as well, and to find another way.
func (c *Core) forgive(now time.Time, lost wire.Peer) {
	for _, cl := range c.clients {
		if cl.way == lost {
			cl.beat, cl.way = now, 0
		}
	}
}

// silent reports that the way of a client's beats is a broker that may be
// dead, so that their absence says nothing about the client yet.
func (c *Core) silent(cl *client) bool {
	state, _, watched := c.beats.State(cl.way)
	return watched && state != heartbeat.Alive
}

// report sends a change to every broker that knows this node, numbered for
// each. It is counted for the others too: the gap tells them that they missed
// it.
func (c *Core) report(fx *Effects, change wire.Control, seq *uint64) {
	for _, b := range c.inOrder {
		if *seq = b.count(); b.welcomed {
			fx.Control(b.peer, change)
		}
	}
}

// changes are the messages that sessions are reported with, used again: sending
// one encodes it at once.
type changes struct {
	accept wire.Accept
	ended  wire.Ended
}

// accepted reports a session as it is now.
func (c *Core) accepted(live wire.Live, fx *Effects) {
	m := &c.changes.accept
	m.Live = live
	c.report(fx, m, &m.Seq)
}
