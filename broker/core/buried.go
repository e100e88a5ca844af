package core

import (
	"errors"
	"maps"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Bounds of the start records that are remembered, beside their age: pastFor.
// Beyond them the oldest is forgotten.
const (
	buriedMost     = 256
	buriedSessions = 1 << 18 // of all of them
)

// buriedNode is a node whose process is dead, by its start record, and what it
// had started.
type buriedNode struct {
	id      session.NodeID
	why     session.Death
	started map[session.ID]uint64
	at      time.Time
}

// buried remembers them: a client whose Lost was lost, or whose broker was
// restarted, is told once more, and what such a node sent before its death and
// comes late is not believed.
type buried struct {
	nodes    map[session.NodeID]*buriedNode
	order    []*buriedNode // oldest first
	sessions int
}

func newBuried() buried { return buried{nodes: map[session.NodeID]*buriedNode{}} }

// add takes a record, or one part of it; the map is the callee's from then on.
func (b *buried) add(now time.Time, id session.NodeID, why session.Death, started map[session.ID]uint64) {
	n := b.nodes[id]
	if n == nil {
		n = &buriedNode{id: id, why: why, started: started, at: now}
		b.nodes[id] = n
		b.order = append(b.order, n)
		b.sessions += len(started)
	} else {
		n.why = why // said with the last part
		b.sessions -= len(n.started)
		maps.Copy(n.started, started)
		b.sessions += len(n.started)
	}
	for len(b.order) > buriedMost || b.sessions > buriedSessions {
		b.shift()
	}
}

func (b *buried) expire(now time.Time) {
	for len(b.order) > 0 && now.Sub(b.order[0].at) > pastFor {
		b.shift()
	}
}

func (b *buried) shift() {
	b.sessions -= len(b.order[0].started)
	delete(b.nodes, b.order[0].id)
	b.order[0] = nil
	b.order = b.order[1:]
}

// tellAgain answers a call of a session whose node is buried, or its cancel:
// with Lost, which names what was started. It is false where the start record
// does not name the session: no more is known of it than of any other whose
// node is gone.
func (b *buried) tellAgain(from wire.Peer, h *wire.Header, fx *Effects) bool {
	n := b.nodes[h.Node]
	if n == nil || !h.Kind.OfCall() {
		return false
	}
	started, named := n.started[h.Session]
	if named {
		fx.Control(from, &wire.Lost{
			Node: n.id, Sessions: []session.ID{h.Session}, Started: []uint64{started}, Code: n.why.Code, Text: wire.Text(n.why.Text),
		})
	}
	return named
}

// by says whose death it was.
func by(name string, why session.Death) session.Death {
	why = why.WithDefaults()
	why.Text, why.Dump = name+": "+why.Text, ""
	return why
}

// obituary takes a node's word that another one on its machine is dead, with
// what its start record says. It comes several times. One of a node that this
// broker does not know, or has given up for its silence, may still tell a
// client what became of its calls.
func (c *Core) obituary(now time.Time, from wire.Peer, m *wire.Obituary, fx *Effects) {
	sender := c.nodeAt[from]
	n := c.nodes[m.Node]
	switch {
	case sender == nil:
		c.stranger(from, wire.KindObituary, fx)
	case n == nil:
		if !m.More {
			delete(c.before, m.Node)
		}
		c.buried.add(now, m.Node, by("node "+m.Node.String(), deathIn(m)), startedIn(m))
		c.explain(m.Node, deathIn(m))
	case n == sender || n.host != sender.host:
		c.bad(from, wire.KindObituary, uuid.Nil, session.ErrBadMessage, errors.New("an obituary of a node on another machine, or of its sender"), fx)
	default:
		c.bury(now, n, m, fx)
	}
}

func deathIn(m *wire.Obituary) session.Death {
	return session.Death{Code: m.Code, Text: m.Text, Dump: m.Dump}
}

func startedIn(m *wire.Obituary) map[session.ID]uint64 {
	started := make(map[session.ID]uint64, len(m.Sessions))
	for i, id := range m.Sessions {
		started[id] = m.Started[i]
	}
	return started
}

// bury gives up a node whose start record shows that it is dead, once all of
// it has come.
func (c *Core) bury(now time.Time, n *node, m *wire.Obituary, fx *Effects) {
	if m.Part == 0 {
		n.started, n.told = map[session.ID]uint64{}, 0
	}
	if m.Part != n.told || len(n.started) > stagedMost { // one before it was lost: all of it comes again
		return
	}
	n.told++
	maps.Copy(n.started, startedIn(m))
	if !m.More {
		c.lose(now, n, deathIn(m), fx)
	}
}

// BuryAll gives up a node by the start record that was found here, and the cause
// that lay beside it. The map is the core's from then on.
func (c *Core) BuryAll(now time.Time, dead session.NodeID, started map[session.ID]uint64, why session.Death, fx *Effects) {
	delete(c.before, dead)
	n := c.nodes[dead]
	if n == nil {
		c.buried.add(now, dead, by("node "+dead.String(), why), started)
		c.explain(dead, why)
		return
	}
	n.started = started
	c.lose(now, n, why, fx)
}

// startedOf returns what is known to have been started of each session; nil
// where nothing is. Of a session that the start record does not name, any call
// may have been.
func (n *node) startedOf(ids []session.ID) []uint64 {
	if n.started == nil {
		return nil
	}
	numbers := make([]uint64, len(ids))
	for i, id := range ids {
		number, named := n.started[id]
		if !named { // its slot was another session's by then, or a part was lost
			number = math.MaxUint64
		}
		numbers[i] = number
	}
	return numbers
}

// mayHaveStarted reports that a call of the session may have been started, by
// all that is known.
func (n *node) mayHaveStarted(id session.ID) bool {
	number, named := n.started[id]
	return number > 0 || !named
}
