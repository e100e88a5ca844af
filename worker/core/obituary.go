package core

import (
	"maps"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// obituary is what the start record of a dead node of this machine says. No
// broker answers one, it may be lost on the way, and this node may not be
// registered yet: so it is sent again with the beats, for as long as a broker
// may believe that the dead one lives.
type obituary struct {
	parts []*wire.Obituary
	until time.Time
}

// Bounds of an obituary and of how many are repeated; beyond that the oldest is
// forgotten.
const (
	obituaryMost   = 2048 // sessions that one message names
	obituariesMost = 64
)

// Obituary tells every broker that a node of this machine is dead, and what it
// had started: by session, in any order; why is as its supervisor left it.
func (c *Core) Obituary(now time.Time, dead session.NodeID, started map[session.ID]uint64, why session.Death, fx *Effects) {
	o := obituary{Obituaries(dead, started, why), now.Add(c.cfg.Beat * time.Duration(c.cfg.Misses+1))}
	for _, b := range c.inOrder {
		if b.registered {
			o.tell(b, fx)
		}
	}
	if len(c.dead) == obituariesMost {
		c.dead = slices.Delete(c.dead, 0, 1)
	}
	c.dead = append(c.dead, o)
}

func (o *obituary) tell(b *broker, fx *Effects) {
	for _, m := range o.parts {
		fx.Control(b.peer, m)
	}
}

// mourn repeats obituaries to a broker, with a beat.
func (c *Core) mourn(b *broker, fx *Effects) {
	for i := range c.dead {
		c.dead[i].tell(b, fx)
	}
}

// mourned forgets the obituaries that every broker has heard by now, or needs
// no more.
func (c *Core) mourned(now time.Time) {
	c.dead = slices.DeleteFunc(c.dead, func(o obituary) bool { return now.After(o.until) })
}

// Obituaries puts a start record into messages. The cause of the death is in the
// last, the one that counts.
func Obituaries(dead session.NodeID, started map[session.ID]uint64, why session.Death) []*wire.Obituary {
	ids := slices.SortedFunc(maps.Keys(started), func(a, b session.ID) int { return slices.Compare(a[:], b[:]) })
	var list []*wire.Obituary
	for {
		n := min(len(ids), obituaryMost)
		m := &wire.Obituary{Node: dead, Part: uint32(len(list)), More: n < len(ids), Sessions: ids[:n]}
		for _, id := range m.Sessions {
			m.Started = append(m.Started, started[id])
		}
		ids = ids[n:]
		list = append(list, m)
		if !m.More {
			m.Code, m.Text, m.Dump = why.Code, wire.Text(why.Text), wire.Dump(why.Dump)
			return list
		}
	}
}
