package core

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// A broadcast asks every member of a pool the same, and ends when each of them
// is settled. Its members are those of the moment in which it arrived:
//
//	Broadcast -> snapshot -> asked (Cast, again every askAgain) -> settled -> told (Answered, numbered)
//	                                 |                                ^            |
//	                                 +- Answer: its own word ---------+            | Heard: kept no longer
//	                                 +- node lost: died, or hung -----+            v
//	                                 +- node left, deadline ----------+     Complete -> Heard{done} -> past
//
// The nodes remember what they have answered, so this record may be lost: a
// client that asks another broker brings along whom it still waits for.

// Bounds of what broadcasts may take.
const (
	askAgain      = 500 * time.Millisecond // between two questions to a node that has not answered
	castsMost     = 1024
	castMembers   = 1 << 18         // of all broadcasts
	castBytesMost = 128 << 20       // of arguments, and of answers that are kept
	answersBehind = 4096            // that are sent and not confirmed
	answersBytes  = 1 << 20         // of those
	answersSize   = 256 << 10       // of one message, or one answer
	confirmedFor  = time.Minute     // a client has to confirm a complete one
	completeAgain = 5 * time.Second // between two words to one that has not
)

// broadcast is the record of one until its client has all of it.
type broadcast struct {
	key      session.OpenKey
	client   *client
	ask      wire.Cast // what its nodes are sent
	since    time.Time // when its client sent it first
	deadline time.Time // zero: none
	run      uint64    // tells it from the same one, forgotten and begun anew
	try      uint32    // the highest that was heard
	sessions bool

	members []session.MemberID
	fates   []session.Fate // of members
	place   map[session.MemberID]int
	parts   map[session.NodeID]*part
	open    int
	counts  [session.FateLast + 1]uint32

	settled    []wire.Member // numbers have+1 to last
	have, sent uint32
	last       uint32
	size       int       // bytes of settled, and of the arguments
	told       bool      // that it is complete
	fresh      bool      // there are answers to be flushed
	heard      time.Time // the client's last word
	retold     time.Time // when what it has not confirmed was told again
}

// broadcast takes a client's question to a whole pool, or a copy of one.
func (c *Core) broadcast(now time.Time, from wire.Peer, m *wire.Broadcast, fx *Effects) {
	key := session.OpenKey{Client: m.Client, Request: m.Request}
	if _, over := c.past.find(key); over {
		return // nobody waits for it
	}
	cl, err := c.client(m.Client, from)
	if err != nil {
		c.refuse(from, key, session.ErrOverloaded, err.Error(), fx)
		return
	}
	b, news, code, text := c.castOf(now, cl, m, fx)
	if code != 0 {
		c.refuse(from, key, code, text, fx)
		c.forget(cl)
		return
	}
	b.heard, b.try = now, max(b.try, m.Try)
	if m.Broker == c.cfg.ID && m.Run == b.run {
		c.confirm(b, m.Have)
	}
	b.sent, b.told = b.have, false
	if len(m.Missing) == 0 {
		c.tellSnapshot(b, fx)
	}
	if news {
		c.askNew(now, b, fx)
	}
	c.push(b, fx)
}

// castOf finds or begins the broadcast that a copy is of. News are members who
// were never asked.
func (c *Core) castOf(now time.Time, cl *client, m *wire.Broadcast, fx *Effects) (b *broadcast, news bool, code session.Code, text string) {
	members := wire.UnpackMembers(m.Missing)
	if b = c.casts[session.OpenKey{Client: m.Client, Request: m.Request}]; b != nil {
		news, code, text = c.widen(b, members)
		return b, news, code, text
	}
	if code, text = c.cannotCast(now, m); code != 0 {
		return nil, false, code, text
	}
	if len(members) == 0 {
		members = c.snapshot(m.Pool, m.Sessions)
	}
	if code, text = c.tooMany(m.Pool, len(members), len(members)); code != 0 {
		return nil, false, code, text
	}
	return c.cast(now, cl, m, members, fx), true, 0, ""
}

// cannotCast says why no broadcast can begin now.
func (c *Core) cannotCast(now time.Time, m *wire.Broadcast) (session.Code, string) {
	switch {
	case c.outdated() || !c.knowsOpens(now):
		return session.ErrRecovering, "nodes may not be back yet"
	case c.draining:
		return session.ErrDraining, "the broker is shutting down"
	case len(c.casts) >= castsMost || c.castBytes+len(m.Args) > castBytesMost:
		return session.ErrOverloaded, "as many broadcasts are under way as may be"
	}
	return 0, ""
}

// tooMany refuses a broadcast that would have so many members, some of them new.
func (c *Core) tooMany(pool string, members, news int) (session.Code, string) {
	switch {
	case members > wire.MaxMembers:
		c.counts.Overloaded++
		return session.ErrTooLarge, fmt.Sprintf("pool %q has %d members, a broadcast reaches at most %d", pool, members, wire.MaxMembers)
	case c.castMembers+news > castMembers:
		c.counts.Overloaded++
		return session.ErrOverloaded, "the broadcasts that are under way have as many members as may be"
	}
	return 0, ""
}

// snapshot is who the members of a pool are, in a fixed order. A pool that
// nobody serves has none.
func (c *Core) snapshot(pool string, sessions bool) (list []session.MemberID) {
	for _, id := range slices.Sorted(maps.Keys(c.nodes)) {
		n := c.nodes[id]
		switch {
		case !n.serves(pool):
		case !sessions:
			list = append(list, session.MemberID{Node: id})
		default:
			for _, l := range leasesOf(n.live) {
				if l.live.Pool == pool && !l.live.Quarantined {
					list = append(list, session.MemberID{Node: id, Session: l.live.Session})
				}
			}
		}
	}
	return list
}

// cast begins a broadcast to these members.
func (c *Core) cast(now time.Time, cl *client, m *wire.Broadcast, members []session.MemberID, fx *Effects) *broadcast {
	c.counts.Broadcasts++
	b := &broadcast{
		key: session.OpenKey{Client: m.Client, Request: m.Request}, client: cl, run: c.cfg.Epoch<<32 | c.counts.Broadcasts&math.MaxUint32, sessions: m.Sessions,
		since: now.Add(-time.Duration(m.Since) * time.Millisecond),
		ask: wire.Cast{
			Client: m.Client, Request: m.Request, Pool: m.Pool, Method: m.Method, Args: m.Args, Raw: m.Raw, Patience: m.Patience, Wait: m.Wait,
			Trace: m.Trace,
		},
		place: make(map[session.MemberID]int, len(members)), parts: map[session.NodeID]*part{}, size: len(m.Args),
	}
	if m.Budget > 0 {
		b.deadline = now.Add(time.Duration(m.Budget) * time.Millisecond)
	}
	for _, id := range members {
		c.admit(b, id)
	}
	c.casts[b.key] = b
	c.castBytes += b.size
	cl.casts++
	fx.Events = append(fx.Events, Event{What: EventBroadcast, Pool: m.Pool, Text: fmt.Sprintf("%s to %d members", m.Method, len(b.members))})
	return b
}

// admit makes somebody a member who was none.
func (c *Core) admit(b *broadcast, id session.MemberID) {
	if _, is := b.place[id]; is {
		return
	}
	p := b.parts[id.Node]
	if p == nil {
		p = &part{of: b, node: id.Node, name: c.nameOf(id.Node)}
		b.parts[id.Node] = p
	}
	b.place[id] = len(b.members)
	p.members = append(p.members, len(b.members))
	p.news = true
	p.open++
	b.members, b.fates = append(b.members, id), append(b.fates, session.FateOpen)
	b.open++
	c.castMembers++
}

// widen makes those members whom the client waits for and who are none. So it is
// where a copy comes first that was sent before the client knew whom the broker
// before this one had asked.
func (c *Core) widen(b *broadcast, missing []session.MemberID) (news bool, code session.Code, text string) {
	missing = slices.DeleteFunc(missing, func(id session.MemberID) bool {
		_, is := b.place[id]
		return is
	})
	if len(missing) == 0 {
		return false, 0, ""
	}
	if code, text = c.tooMany(b.ask.Pool, len(b.members)+len(missing), len(missing)); code != 0 {
		return false, code, text
	}
	for _, id := range missing {
		c.admit(b, id)
	}
	return true, 0, ""
}

func compareKeys(a, b session.OpenKey) int {
	if d := slices.Compare(a.Client[:], b.Client[:]); d != 0 {
		return d
	}
	return slices.Compare(a.Request[:], b.Request[:])
}

// endCast forgets a broadcast that nobody waits for any more. Nodes that are
// still at it are told.
func (c *Core) endCast(b *broadcast, fx *Effects) {
	if b.open > 0 {
		for _, id := range slices.Sorted(maps.Keys(b.parts)) {
			if n := c.nodes[id]; n != nil && n.peer != 0 && b.parts[id].open > 0 {
				fx.Control(n.peer, &wire.Cast{Epoch: c.cfg.Epoch, Client: b.key.Client, Request: b.key.Request, Pool: b.ask.Pool, Over: true})
			}
		}
	}
	for _, p := range b.parts {
		p.open = 0 // so that nobody asks again
	}
	what := fmt.Sprintf("%s: %d of %d members answered", b.ask.Method, b.counts[session.FateAnswered], len(b.members))
	fx.Events = append(fx.Events, Event{What: EventBroadcastOver, Pool: b.ask.Pool, Text: what})
	c.castMembers -= len(b.members)
	c.castBytes -= b.size
	delete(c.casts, b.key)
	b.client.casts--
	c.forget(b.client)
}

// castsOf ends the broadcasts of a client that is gone.
func (c *Core) castsOf(cl *client, fx *Effects) {
	if cl.casts == 0 {
		return
	}
	for _, b := range c.castsInOrder() {
		if b.client == cl {
			c.endCast(b, fx)
		}
	}
}

func (c *Core) castsInOrder() []*broadcast {
	return slices.SortedFunc(maps.Values(c.casts), func(a, b *broadcast) int { return compareKeys(a.key, b.key) })
}

// watchCasts asks again what was not answered, and ends what has no time left.
func (c *Core) watchCasts(now time.Time, fx *Effects) {
	for len(c.asked) > 0 {
		p := c.asked[0]
		if p.open > 0 && now.Before(p.again) {
			break
		}
		c.asked[0] = nil
		c.asked = c.asked[1:]
		if p.listed = p.open > 0; p.listed {
			c.askPart(now, p, fx)
			c.asked = append(c.asked, p)
		}
	}
	for _, b := range c.castsInOrder() {
		switch {
		case b.open > 0 && !b.deadline.IsZero() && !now.Before(b.deadline):
			for _, id := range slices.Sorted(maps.Keys(b.parts)) {
				c.settlePart(b.parts[id], session.FateDeadline, session.ErrDeadline, "the time of the broadcast was over", "", fx)
			}
		case b.open == 0 && now.Sub(b.heard) > confirmedFor:
			c.endCast(b, fx)
		case b.open == 0 && b.told && now.Sub(b.retold) > completeAgain:
			b.retold, b.told = now, false
			c.push(b, fx)
		}
	}
}

// auditCasts checks that what is counted of broadcasts is what they hold.
func (c *Core) auditCasts() error {
	members, bytes, of := 0, 0, map[*client]int{}
	for key, b := range c.casts {
		open := 0
		for _, f := range b.fates {
			if f == session.FateOpen {
				open++
			}
		}
		parts := 0
		for _, p := range b.parts {
			parts += p.open
		}
		if b.key != key || open != b.open || parts != b.open || int(b.last)+b.open != len(b.members) || int(b.last-b.have) != len(b.settled) || b.sent > b.last {
			return fmt.Errorf("broadcast %s of %d members: %d open, counts %d, its parts %d; settled %d, sent %d, confirmed %d, kept %d",
				b.key.Request, len(b.members), open, b.open, parts, b.last, b.sent, b.have, len(b.settled))
		}
		members += len(b.members)
		bytes += b.size
		of[b.client]++
	}
	if members != c.castMembers || bytes != c.castBytes {
		return fmt.Errorf("broadcasts have %d members and %d bytes, counted are %d and %d", members, bytes, c.castMembers, c.castBytes)
	}
	for id, cl := range c.clients {
		if cl.casts != of[cl] {
			return fmt.Errorf("client %s has %d broadcasts, counts %d", id, of[cl], cl.casts)
		}
		delete(of, cl)
	}
	if len(of) > 0 {
		return errors.New("a broadcast's client is not known")
	}
	return nil
}
