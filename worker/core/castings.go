package core

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// casting is a broadcast as a node knows it.
type casting struct {
	key      session.OpenKey
	pool     *pool
	method   string
	args     []byte
	raw      bool
	patience time.Duration
	trace    wire.Trace
	deadline time.Time     // zero: none
	wait     time.Duration // for a busy session; 0: for as long as it takes, below 0: not at all
	from     wire.Peer     // the broker that asked last
	errands  map[session.ID]*Errand
	open     int
	begun    time.Time
	touched  time.Time
	size     int
	dead     bool // nobody waits for it
}

// castings remembers the broadcasts of the last minute.
type castings struct {
	all      map[session.OpenKey]*casting
	bytes    int
	open     int       // errands that are not over
	horizon  time.Time // what was sent before may be forgotten
	looked   time.Time
	places   [asideMost]*Errand
	waiting  []*Errand // for a place
	patient  []*Errand // they wait no longer than until, or a deadline
	exams    exams
	watchdog *heartbeat.Watchdog[*Errand]
}

func newCastings(tick time.Duration) castings {
	return castings{all: map[session.OpenKey]*casting{}, watchdog: heartbeat.NewWatchdog[*Errand](tick)}
}

// cast takes a broker's question, or a copy of it.
func (c *Core) cast(now time.Time, b *broker, m *wire.Cast, fx *Effects) {
	k := c.castings.all[session.OpenKey{Client: m.Client, Request: m.Request}]
	if m.Over {
		c.castOver(now, k, m, fx)
		return
	}
	again := k != nil
	if k == nil {
		var fate session.Fate
		var code session.Code
		var text string
		if k, fate, code, text = c.begins(now, m); k == nil {
			c.refuseCast(b, m, fate, code, text, fx)
			return
		}
	}
	k.from, k.touched = b.peer, now
	var over []*Errand
	for _, id := range targets(m) {
		e := k.errands[id]
		if e == nil {
			e = c.errand(now, k, id, fx)
		}
		if e.state == errandOver {
			over = append(over, e)
		}
	}
	if again && len(over) == 0 {
		fx.Control(b.peer, &wire.Answer{Client: m.Client, Request: m.Request})
	}
	c.tellErrands(over, fx)
}

// targets are the sessions that a message is for, or the side lane.
func targets(m *wire.Cast) []session.ID {
	if len(m.Sessions) == 0 {
		return []session.ID{{}}
	}
	return m.Sessions
}

// begins makes the record of a broadcast that is new here, or says why not.
func (c *Core) begins(now time.Time, m *wire.Cast) (*casting, session.Fate, session.Code, string) {
	sent := now.Add(-time.Duration(m.Since)*time.Millisecond - castingLate)
	p := c.pools[m.Pool]
	switch {
	case m.Again || sent.Before(c.castings.horizon):
		return nil, session.FateFailed, session.ErrReplyGone, "this node may have run it, and does not remember"
	case m.Method == "":
		return nil, session.FateFailed, session.ErrBadMessage, "no method named"
	case p == nil:
		return nil, session.FateFailed, session.ErrPoolUnknown, "not served here"
	case c.draining:
		return nil, session.FateLeft, session.ErrDraining, "the node is draining"
	case !c.roomFor(now, len(m.Args)):
		return nil, session.FateFailed, session.ErrOverloaded, "the node remembers as many broadcasts as it may"
	}
	k := &casting{
		key: session.OpenKey{Client: m.Client, Request: m.Request}, pool: p, method: m.Method, args: m.Args, raw: m.Raw,
		patience: wire.PatienceOf(m.Patience), wait: wire.PatienceOf(m.Wait), errands: map[session.ID]*Errand{}, begun: now, size: len(m.Args),
		trace: wire.TraceOf(m.Trace),
	}
	if m.Budget > 0 {
		k.deadline = now.Add(time.Duration(m.Budget) * time.Millisecond)
	}
	c.castings.all[k.key] = k
	c.castings.bytes += k.size
	return k, 0, 0, ""
}

// roomFor makes room for another broadcast, by forgetting the oldest that are
// over, of those of which no first copy can come any more.
func (c *Core) roomFor(now time.Time, size int) bool {
	s := &c.castings
	for len(s.all) >= castingsMost || s.bytes+size > castingsBytes {
		var oldest *casting
		for _, k := range s.all {
			if k.open == 0 && now.Sub(k.begun) > castingLate && (oldest == nil || k.before(oldest)) {
				oldest = k
			}
		}
		if oldest == nil {
			return false
		}
		s.forget(oldest)
	}
	return true
}

// before is a fixed order: by age, then by name.
func (k *casting) before(o *casting) bool {
	return cmp.Or(k.begun.Compare(o.begun), slices.Compare(k.key.Client[:], o.key.Client[:]), slices.Compare(k.key.Request[:], o.key.Request[:])) < 0
}

func (s *castings) forget(k *casting) {
	if k.begun.After(s.horizon) {
		s.horizon = k.begun
	}
	s.bytes -= k.size
	delete(s.all, k.key)
}

// refuseCast answers for what is not taken.
func (c *Core) refuseCast(b *broker, m *wire.Cast, fate session.Fate, code session.Code, text string, fx *Effects) {
	a := wire.Answer{Client: m.Client, Request: m.Request}
	body := wire.AppendFailure(nil, text, "")
	for _, id := range targets(m) {
		a.Members = append(a.Members, wire.Member{Node: c.cfg.Node, Session: id, Fate: fate, Code: code, Body: body})
	}
	fx.Control(b.peer, &a)
}

// castOver gives up a broadcast that nobody waits for: what waits does not
// start, what runs is cancelled. One that this node has not heard of is over
// before it comes.
func (c *Core) castOver(now time.Time, k *casting, m *wire.Cast, fx *Effects) {
	if k == nil {
		if p := c.pools[m.Pool]; p != nil && c.roomFor(now, 0) {
			k = &casting{key: session.OpenKey{Client: m.Client, Request: m.Request}, pool: p, errands: map[session.ID]*Errand{}, begun: now, touched: now, dead: true}
			c.castings.all[k.key] = k
		}
		return
	}
	k.touched, k.dead = now, true
	for _, e := range k.inOrder() {
		c.recall(e, session.FateFailed, session.ErrCancelled, "nobody waits for it any more", fx)
	}
}

func (k *casting) inOrder() []*Errand {
	list := make([]*Errand, 0, len(k.errands))
	for _, e := range k.errands {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b *Errand) int { return slices.Compare(a.id[:], b.id[:]) })
	return list
}

// tellErrands answers the broker that asked last.
func (c *Core) tellErrands(over []*Errand, fx *Effects) {
	for len(over) > 0 {
		k := over[0].of
		a := wire.Answer{Client: k.key.Client, Request: k.key.Request}
		size, n := 0, 0
		for ; n < len(over) && n < wire.MaxList && (n == 0 || size+len(over[n].reply.Body) <= answerSize); n++ {
			e := over[n]
			size += len(e.reply.Body)
			a.Members = append(a.Members, wire.Member{Node: c.cfg.Node, Session: e.id, Fate: e.fate, Code: e.reply.Code, Raw: e.reply.Raw, Body: e.reply.Body})
		}
		over = over[n:]
		if c.brokers[k.from] != nil {
			fx.Control(k.from, &a)
		}
	}
}

func (c *Core) auditErrands() error {
	open, bytes, running := 0, 0, 0
	for key, k := range c.castings.all {
		n, size := 0, len(k.args)
		for _, e := range k.errands {
			if e.state != errandOver {
				n++
			}
			size += len(e.reply.Body)
			if e.state == errandRunning && (e.session == nil) != (e.place >= 0 && c.castings.places[e.place] == e) {
				return fmt.Errorf("broadcast %s: an errand runs in no session and has no place", key.Request)
			}
			if e.session != nil && e.state == errandRunning {
				running++
				if e.session.errand != e {
					return fmt.Errorf("broadcast %s: session %s runs an errand and does not know it", key.Request, e.id)
				}
			}
		}
		if k.key != key || n != k.open || size != k.size {
			return fmt.Errorf("broadcast %s counts %d open errands and %d bytes, there are %d and %d", key.Request, k.open, k.size, n, size)
		}
		open, bytes = open+n, bytes+size
	}
	if open != c.castings.open || bytes != c.castings.bytes || len(c.castings.all) > castingsMost {
		return errors.New("broadcasts' errands and bytes are miscounted")
	}
	return nil
}
