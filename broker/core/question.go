package core

import (
	"maps"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// part is what of a broadcast is one node's.
type part struct {
	of      *broadcast
	node    session.NodeID
	name    string
	members []int // places
	open    int
	news    bool // some of them were never asked
	seen    bool // the node has it
	listed  bool // in Core.asked
	again   time.Time
}

// askNew asks the nodes of the members who were never asked.
func (c *Core) askNew(now time.Time, b *broadcast, fx *Effects) {
	for _, id := range slices.Sorted(maps.Keys(b.parts)) {
		p := b.parts[id]
		if !p.news {
			continue
		}
		p.news, p.seen = false, false
		c.askPart(now, p, fx)
		if !p.listed {
			p.listed = true
			c.asked = append(c.asked, p)
		}
	}
}

// askPart asks a node for what it has not answered. A node that nobody knows was
// lost while no broker looked.
func (c *Core) askPart(now time.Time, p *part, fx *Effects) {
	p.again = now.Add(askAgain)
	n := c.nodes[p.node]
	switch {
	case n == nil:
		c.settlePart(p, session.FateDied, session.ErrWorkerLost, "node "+p.node.String()+" has not come back to this broker", "", fx)
		return
	case n.peer == 0 && now.Sub(n.cut) >= c.cfg.Beat:
		c.settlePart(p, session.FateDied, session.ErrWorkerLost, p.name+": its connection broke and did not come back", "", fx)
		return
	case n.peer == 0:
		return
	}
	b := p.of
	m := b.ask
	m.Epoch, m.Since, m.Again = c.cfg.Epoch, wire.Millis(now.Sub(b.since)), p.seen
	if p.seen {
		m.Method, m.Args, m.Trace = "", nil, nil
	}
	if !b.deadline.IsZero() {
		m.Budget = max(wire.Millis(b.deadline.Sub(now)), 1)
	}
	if !b.sessions {
		fx.Control(n.peer, &m)
		return
	}
	for chunk := range slices.Chunk(p.openSessions(), wire.MaxList) {
		m.Sessions = chunk
		fx.Control(n.peer, &m)
	}
}

// openSessions are those of a part that are not settled.
func (p *part) openSessions() []session.ID {
	list := make([]session.ID, 0, p.open)
	for _, i := range p.members {
		if p.of.fates[i] == session.FateOpen {
			list = append(list, p.of.members[i].Session)
		}
	}
	return list
}

// askBack asks a node that has registered anew, without waiting for the next
// question's time.
func (c *Core) askBack(now time.Time, n *node, fx *Effects) {
	for _, p := range c.partsOf(n.id) {
		c.askPart(now, p, fx)
	}
}

// partsOf are a node's open parts of broadcasts, in a fixed order.
func (c *Core) partsOf(id session.NodeID) (list []*part) {
	for _, b := range c.casts {
		if p := b.parts[id]; p != nil && p.open > 0 {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *part) int { return compareKeys(a.of.key, b.of.key) })
	return list
}

func (c *Core) nameOf(id session.NodeID) string {
	if n := c.nodes[id]; n != nil {
		return n.name
	}
	return ""
}

// answered takes a node's word on members of a broadcast.
func (c *Core) answered(from wire.Peer, m *wire.Answer, fx *Effects) {
	n := c.nodeAt[from]
	if n == nil {
		c.stranger(from, wire.KindAnswer, fx)
		return
	}
	b := c.casts[session.OpenKey{Client: m.Client, Request: m.Request}]
	if b == nil || b.parts[n.id] == nil {
		return // too late: its client has gone, or was told otherwise
	}
	p := b.parts[n.id]
	p.seen = true
	for i := range m.Members {
		one := &m.Members[i]
		if place, is := b.place[session.MemberID{Node: n.id, Session: one.Session}]; is && one.Fate != session.FateOpen {
			c.settle(b, place, wire.Member{Fate: one.Fate, Code: one.Code, Raw: one.Raw, Body: one.Body})
		}
	}
	if !b.fresh {
		b.fresh = true
		c.unflushed = append(c.unflushed, b)
	}
}

// settle notes what has become of a member; the first word counts.
func (c *Core) settle(b *broadcast, place int, m wire.Member) {
	if b.fates[place] != session.FateOpen {
		return
	}
	id := b.members[place]
	p := b.parts[id.Node]
	m.Node, m.Session, m.Name = id.Node, id.Session, p.name
	if len(m.Body) > 0 && c.castBytes+len(m.Body) > castBytesMost {
		if m.Body = nil; m.Code == 0 {
			m.Code = session.ErrReplyGone
		}
	}
	b.fates[place] = m.Fate
	b.counts[m.Fate]++
	b.settled = append(b.settled, m)
	b.size += len(m.Body)
	c.castBytes += len(m.Body)
	b.last++
	b.open--
	p.open--
}

// settlePart settles all that is open of a node's part.
func (c *Core) settlePart(p *part, fate session.Fate, code session.Code, text, stack string, fx *Effects) {
	if p.open == 0 {
		return
	}
	body := wire.AppendFailure(nil, text, stack)
	for _, place := range p.members {
		c.settle(p.of, place, wire.Member{Fate: fate, Code: code, Body: body})
	}
	c.push(p.of, fx)
}

// castsLose settles what a node leaves behind that is given up. One that is
// silent while its connection stands hangs.
func (c *Core) castsLose(n *node, why session.Death, silent bool, fx *Effects) {
	fate, code := session.FateDied, session.ErrWorkerLost
	if silent && n.peer != 0 || why.Code == session.ErrWorkerHung {
		fate, code = session.FateHung, session.ErrWorkerHung
	}
	for _, p := range c.partsOf(n.id) {
		c.settlePart(p, fate, code, n.name+": "+why.Text, why.Dump, fx)
	}
}

// castsLeave settles those of a node that has said good-bye.
func (c *Core) castsLeave(n *node, fx *Effects) {
	for _, p := range c.partsOf(n.id) {
		c.settlePart(p, session.FateLeft, session.ErrDraining, n.name+" has left", "", fx)
	}
}
