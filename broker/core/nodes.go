package core

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/assigner"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// node is what the broker knows of one run of a node process.
type node struct {
	id          session.NodeID
	secret      session.Key // of its first Register
	name        string
	host        string
	pid         int
	endpoint    string
	labels      map[string]string
	pools       []wire.Pool
	values      map[string]string // by pool, as it said them last
	resized     map[string]resize // by pool: its last change
	peer        wire.Peer         // 0 while its connection is broken
	cut         time.Time         // since when
	seq         uint64            // the last of its changes that was heard of
	gap         bool              // one before it was missed, and no Register has come since
	drain       bool
	asked       *wire.Drain // sent until its beats say that it drains
	beat        wire.Beat
	joined      time.Time
	live        map[session.ID]*lease
	offers      map[session.OpenKey]*open
	quarantined map[string]int // by pool: slots of live whose handlers hang
	staged      []wire.Live    // of a Register in parts
	parts       uint32
	started     map[session.ID]uint64 // of its start record, nil while nobody has read one
	told        uint32                // parts of it that have come
}

// register takes all a node says of itself. Every part repeats the head, so
// that the last one is enough to join with.
func (c *Core) register(now time.Time, from wire.Peer, m *wire.Register, fx *Effects) {
	if code, err := c.mayRegister(from, m); err != nil {
		c.bad(from, wire.KindRegister, uuid.Nil, code, err, fx)
		return
	}
	n := c.nodes[m.Node]
	if n == nil {
		n = &node{id: m.Node, secret: m.Secret, joined: now, live: map[session.ID]*lease{}, offers: map[session.OpenKey]*open{}}
		c.nodes[m.Node] = n
	}
	if n.peer != from {
		delete(c.nodeAt, n.peer)
		n.peer, n.staged, n.parts = from, nil, 0
		c.nodeAt[from] = n
	}
	if m.Part == 0 {
		n.staged, n.parts = nil, 0
	}
	c.hear(m.Epoch, fx)
	c.nodeBeats.Watch(now, n.id, c.interval(m.Beat), c.misses(m.Misses))
	c.nodeBeats.Beat(now, n.id)             // it comes from the working loop as beats do
	if m.Part != n.parts || m.Seq < n.seq { // a part is missing, or changes overtook it
		fx.Control(from, &wire.Registered{Epoch: c.cfg.Epoch, Seq: n.seq, Again: true})
		return
	}
	n.staged, n.parts = append(n.staged, m.Live...), n.parts+1
	if m.More {
		return
	}
	live := n.staged
	n.staged, n.parts = nil, 0
	c.join(now, n, m, live, fx)
}

// mayRegister refuses a Register before anything is changed by it.
func (c *Core) mayRegister(from wire.Peer, m *wire.Register) (session.Code, error) {
	n := c.nodes[m.Node]
	switch other := c.nodeAt[from]; {
	case other != nil && other.id != m.Node:
		return session.ErrBadMessage, fmt.Errorf("this connection is node %s already", other.id)
	case c.buried.nodes[m.Node] != nil:
		return session.ErrBadMessage, fmt.Errorf("node %s is dead, by its start record", m.Node)
	case n == nil && len(c.nodes) >= c.cfg.Peers:
		return session.ErrOverloaded, errors.New("the broker knows as many nodes as it may")
	case n != nil && subtle.ConstantTimeCompare(n.secret[:], m.Secret[:]) != 1:
		return session.ErrBadMessage, fmt.Errorf("node %s is registered with another secret", m.Node)
	case policyOf(m) != nil:
		return session.ErrBadMessage, policyOf(m)
	case n != nil && m.Part > 0 && len(n.staged)+len(m.Live) > stagedMost:
		return session.ErrTooLarge, fmt.Errorf("a register of more than %d sessions", stagedMost)
	}
	return 0, nil
}

// stagedMost bounds the sessions that one Register may bring along.
const stagedMost = 1 << 18

func (c *Core) interval(ms uint32) time.Duration {
	if ms == 0 {
		return c.cfg.Beat
	}
	return time.Duration(ms) * time.Millisecond
}

func (c *Core) misses(n uint8) int {
	if n == 0 {
		return c.cfg.Misses
	}
	return int(n)
}

// join makes the broker's picture of a node what the node says it is.
func (c *Core) join(now time.Time, n *node, m *wire.Register, live []wire.Live, fx *Effects) {
	fresh := n.name == ""
	n.name, n.host, n.pid, n.endpoint, n.labels, n.pools = m.Name, m.Host, m.PID, m.Endpoint, m.Labels, m.Pools
	n.seq, n.gap, n.drain = m.Seq, false, m.Drain
	n.values = valuesOf(m.Pools)
	c.seat(n)
	c.declare(m.Pools)
	lives := make(map[session.ID]bool, len(live))
	for i := range live {
		lives[live[i].Session] = !live[i].Over && !live[i].Starting
	}
	for _, l := range leasesOf(n.live) {
		if !lives[l.live.Session] {
			c.end(now, l, session.ErrSessionExpired, fx)
		}
	}
	c.starting(now, n, live, fx)
	for i := range live {
		if !live[i].Starting {
			c.adopt(now, n, &live[i], fx)
		}
	}
	fx.Control(n.peer, &wire.Registered{Epoch: c.cfg.Epoch, Seq: n.seq})
	delete(c.before, n.id)
	c.tellBack(n, fx)
	c.askBack(now, n, fx)
	if fresh {
		fx.Events = append(fx.Events, Event{What: EventNodeJoined, Node: n.id, Name: n.name, Text: fmt.Sprintf("%d sessions came along", len(live))})
	}
	c.pump(now, fx)
}

// seat tells the assigner what a node has to give.
func (c *Core) seat(n *node) {
	slots := make(map[string]int, len(n.pools))
	for _, p := range n.pools {
		slots[p.Name] += p.Slots
	}
	c.table.Join(assigner.Node{ID: n.id, Name: n.name, Labels: n.labels, Slots: slots, Draining: n.drain, Away: n.peer == 0, Values: n.values})
}

// stranger answers a node's message from a connection that is no node's: the
// broker was restarted, or the peer never registered.
func (c *Core) stranger(from wire.Peer, of wire.Kind, fx *Effects) {
	c.counts.bad(session.ErrKindUnknown)
	fx.Events = append(fx.Events, Event{What: EventBad, Peer: from, Code: session.ErrKindUnknown, Text: "a " + of.String() + " from no registered node"})
	fx.Control(from, &wire.Identify{Broker: c.cfg.ID, Epoch: c.cfg.Epoch})
}

// heard takes the number of a node's change. A gap means that one was lost:
// the node is asked for the whole, and with every beat again until it comes.
func (c *Core) heard(now time.Time, n *node, seq uint64, fx *Effects) {
	c.nodeBeats.Beat(now, n.id)
	if seq > n.seq+1 {
		n.gap = true
		fx.Control(n.peer, &wire.Registered{Epoch: c.cfg.Epoch, Seq: n.seq, Again: true})
	}
	n.seq = max(n.seq, seq)
}

func (n *node) serves(pool string) bool {
	return slices.ContainsFunc(n.pools, func(p wire.Pool) bool { return p.Name == pool })
}

// poolName returns the one copy of a pool's name, so that a session does not
// keep the message that it came with.
func (n *node) poolName(name string) string {
	for i := range n.pools {
		if n.pools[i].Name == name {
			return n.pools[i].Name
		}
	}
	return name
}

// nodeBeat takes a node's beat: a sign of life, and the number of its last
// change.
func (c *Core) nodeBeat(now time.Time, n *node, m *wire.Beat, fx *Effects) {
	if change, was := c.nodeBeats.Beat(now, n.id); was {
		c.nodeChanged(now, change, fx)
	}
	if m.Seq > n.seq || n.gap {
		fx.Control(n.peer, &wire.Registered{Epoch: c.cfg.Epoch, Seq: n.seq, Again: true})
	}
	if n.asked != nil && !m.Drain {
		fx.Control(n.peer, n.asked)
	} else if m.Drain != n.drain {
		n.drain = m.Drain
		c.seat(n)
	}
	c.newValues(n, m.Values)
	c.newSizes(now, n, m.Sizes, fx)
	n.beat = *m
	n.beat.Values, n.beat.Sizes, n.beat.Queues = nil, nil, nil
	c.hear(m.Epoch, fx)
	c.pump(now, fx)
}
