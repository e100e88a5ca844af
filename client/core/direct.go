package core

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// direct is the client's own connection to one node, which all its sessions
// there share. It is a short cut and nothing more: whatever goes wrong with it,
// the relay by a broker carries on, and numbered calls make the switch safe.
//
//	dialling --Welcome of that node--> up --silence, a doubt--> doubted --Welcome--> up
//	    |                                                          |
//	    +--- nobody answers for directTry, or somebody else does --+--> down, for a while
//
// A doubt is cheap: a call or a beat that was not answered in time is repeated
// by the relay, and the node is asked again whether it is there.
type direct struct {
	node     session.NodeID
	endpoint string
	peer     wire.Peer // 0 while there is no connection
	up       bool
	sessions int
	heard    time.Time // the last message that came by it
	hello    time.Time // when Hello is due again
	until    time.Time // not up: when to hang up, or without a connection when to dial again
	idle     time.Time // since when it was seen to have no sessions
	pacer    *heartbeat.Pacer
}

// Direct reports whether a session's calls go straight to its node.
func (s *Session) Direct() bool { return s.direct != nil && s.direct.up }

// Dial asks for a connection to a node; Dialled reports it.
type Dial struct {
	Node     session.NodeID
	Endpoint string
}

// Bounds of the direct path.
const (
	directTry   = 5 * time.Second  // for a node to answer
	directAgain = time.Minute      // after which one that did not is tried again
	directIdle  = 30 * time.Second // a connection without sessions is kept
	directBeat  = 500 * time.Millisecond
	directMost  = 128 // connections; sessions on further nodes are relayed
)

// What happened.
const (
	EventDirect = "direct path"
	EventRelay  = "back to the relay"
)

// shortCut joins a session to its node's direct path, if it has one.
func (c *Core) shortCut(now time.Time, s *Session, fx *Effects) {
	if c.cfg.Relay || s.once || !dialable(s.route.Endpoint) {
		return
	}
	d := c.directs[s.route.Node]
	if d == nil {
		if len(c.directs) >= directMost {
			return
		}
		d = &direct{node: s.route.Node, endpoint: s.route.Endpoint}
		c.directs[d.node] = d
		c.dial(now, d, fx)
	}
	d.sessions++
	s.direct = d
}

// dialable reports an endpoint that can be dialled without asking anybody where
// it is: a name that is looked up slowly would hold up everything else.
func dialable(endpoint string) bool {
	at, tcp := strings.CutPrefix(endpoint, "tcp://")
	if !tcp {
		return endpoint != "" // refused by the socket where it is nonsense
	}
	_, err := netip.ParseAddrPort(at)
	return err == nil
}

func (c *Core) dial(now time.Time, d *direct, fx *Effects) {
	d.until = now.Add(directTry)
	fx.Dials = append(fx.Dials, Dial{Node: d.node, Endpoint: d.endpoint})
}

// Dialled takes the connection that a Dial has asked for; peer is 0 where the
// endpoint cannot be dialled.
func (c *Core) Dialled(now time.Time, to session.NodeID, peer wire.Peer, fx *Effects) {
	d := c.directs[to]
	switch {
	case peer != 0 && (d == nil || d.peer != 0):
		fx.Hangups = append(fx.Hangups, peer)
	case d == nil || d.peer != 0:
	case peer == 0:
		d.until = now.Add(directAgain)
	default:
		d.peer = peer
		c.directAt[peer] = d
		c.greet(now, d, fx)
	}
}

func (c *Core) greet(now time.Time, d *direct, fx *Effects) {
	d.hello = now.Add(helloAgain)
	fx.Control(d.peer, &wire.Hello{
		Min: wire.MinVersion, Max: wire.Version, Role: wire.RoleClient, ID: c.cfg.ID, Name: c.cfg.Name, Program: c.cfg.Program, Beat: wire.Millis(directBeat),
	})
}

// fromNode takes a control message that came by a direct path.
func (c *Core) fromNode(now time.Time, d *direct, m wire.Control, fx *Effects) {
	switch m := m.(type) {
	case *wire.Welcome:
		if m.Broker != wire.NodeUUID(d.node) {
			c.usurped(now, d, fx)
			return
		}
		c.raise(now, d, fx)
	case *wire.Identify:
		c.greet(now, d, fx)
	case *wire.Error:
		fx.Events = append(fx.Events, Event{What: EventRefusedBy, Peer: d.peer, Code: m.Code, Text: m.Text})
	}
}

// usurped takes that another node than the one that was dialled is there.
func (c *Core) usurped(now time.Time, d *direct, fx *Effects) {
	c.silentNode(now, d, "another node answers at "+d.endpoint, fx)
	c.hangUp(now, d, fx)
}

func (c *Core) raise(now time.Time, d *direct, fx *Effects) {
	if d.up {
		return
	}
	d.up = true
	d.pacer = heartbeat.NewPacer(directBeat)
	c.beats.Watch(now, d.peer, directBeat, c.cfg.Misses)
	fx.Events = append(fx.Events, Event{What: EventDirect, Peer: d.peer, Text: d.endpoint})
}

// doubt has everything go by the relay until the node has answered a Hello.
func (c *Core) doubt(now time.Time, d *direct, why string, fx *Effects) {
	if !d.up {
		return
	}
	d.up, d.until = false, now.Add(directTry)
	c.beats.Forget(d.peer)
	c.greet(now, d, fx)
	fx.Events = append(fx.Events, Event{What: EventRelay, Peer: d.peer, Text: why})
}

// hangUp gives the connection up for a while.
func (c *Core) hangUp(now time.Time, d *direct, fx *Effects) {
	if d.peer != 0 {
		c.beats.Forget(d.peer)
		delete(c.directAt, d.peer)
		fx.Hangups = append(fx.Hangups, d.peer)
	}
	d.up, d.peer, d.until = false, 0, now.Add(directAgain)
}

// part ends a session's part in its node's direct path.
func (c *Core) part(s *Session) {
	if s.direct != nil {
		s.direct.sessions--
		s.direct.idle = time.Time{}
		s.direct = nil
	}
}

// watchDirects beats, repeats Hello, and hangs up what nobody needs or nobody
// answers.
func (c *Core) watchDirects(now time.Time, fx *Effects) {
	if len(c.directs) == 0 {
		return
	}
	for _, d := range c.directsInOrder() {
		if d.sessions == 0 && d.idle.IsZero() {
			d.idle = now
		}
		switch {
		case d.sessions == 0 && (d.up && now.Sub(d.idle) >= directIdle || d.peer == 0 && !now.Before(d.until)):
			c.hangUp(now, d, fx)
			delete(c.directs, d.node)
		case d.up && d.pacer.Due(now):
			fx.Control(d.peer, &wire.Beat{})
		case d.up:
		case d.peer != 0 && !now.Before(d.until): // nobody answers
			c.hangUp(now, d, fx)
		case d.peer != 0 && !now.Before(d.hello):
			c.greet(now, d, fx)
		case d.peer == 0 && !now.Before(d.until) && d.sessions > 0:
			c.dial(now, d, fx)
		}
	}
}

// silentNode takes that a direct path has not been heard for too long: what
// went by it is repeated by the relay at once.
func (c *Core) silentNode(now time.Time, d *direct, why string, fx *Effects) {
	c.doubt(now, d, why, fx) // which asks once more who is there
	for _, s := range c.Sessions() {
		if s.direct == d && s.calls.InFlight() > 0 {
			s.calls.Hurry(now)
			c.arm(s, now)
		}
	}
}

func (c *Core) directsInOrder() []*direct {
	return slices.SortedFunc(maps.Values(c.directs), func(a, b *direct) int { return cmp.Compare(a.node, b.node) })
}
