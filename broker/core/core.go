package core

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/assigner"
	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Config is what a broker is told at its start. New fills in the defaults.
type Config struct {
	ID       uuid.UUID
	Name     string
	Program  string // name and version, said in Welcome
	Epoch    uint64 // master epoch, at least 1
	Elected  bool   // it is the master of a cell, and there may be later ones
	Heir     bool   // Before are all the nodes that the master before had
	Before   []session.NodeID
	Beat     time.Duration   // peers that say nothing else beat this often; default 1 s
	Misses   int             // beats in a row that may be missed; default 3
	Lease    time.Duration   // of a client that waits in a queue; default 10 s
	MaxWait  time.Duration   // the longest anybody may wait in a queue, default 1 h; an open that names none waits DefaultWait
	Recovery time.Duration   // how long after the start unknown nodes are waited for; default Beat*Misses + 1 s
	Policy   assigner.Policy // placement
	Limits   assigner.Limits // of the queues
	Tick     time.Duration   // how often Tick will be called; default 20 ms
	Peers    int             // most clients and most nodes known at once; default 100,000
	Carried  int             // bytes of calls that opens may bring along while they wait, default 256 MiB
}

// DefaultWait is how long an open waits that names no wait.
const DefaultWait = 30 * time.Second

// offerAgain is after how long an unanswered offer is repeated. A node answers
// a repeated offer as it answered the first.
const offerAgain = time.Second

// Effects is what one step asks for.
type Effects struct {
	wire.Batch
	Events []Event
	// Outdated is a master epoch that a node knows of, above this broker's own:
	// it has been replaced, or has to raise its own. 0: none.
	Outdated uint64
}

// Reset empties the effects for the next step.
func (fx *Effects) Reset() {
	fx.Batch.Reset()
	fx.Events, fx.Outdated = fx.Events[:0], 0
}

// Core is the broker's state. It is not safe for concurrent use; its owner is
// one loop.
type Core struct {
	cfg     Config
	started time.Time

	table    *assigner.Table
	nodes    map[session.NodeID]*node
	nodeAt   map[wire.Peer]*node
	clients  map[uuid.UUID]*client
	clientAt map[wire.Peer]*client
	opens    map[session.OpenKey]*open  // queued or offered
	taken    map[session.OpenKey]*lease // opened
	casts    map[session.OpenKey]*broadcast
	past     past
	carried  int                  // bytes that came along with opens
	expected map[string]bool      // pools asked for while recovering that nobody served then
	deserted map[string]time.Time // pools without a node, since when

	nodeBeats   *heartbeat.Monitor[session.NodeID]
	clientBeats *heartbeat.Monitor[uuid.UUID]
	offered     []*open // in the order in which they are to be repeated
	spares      []*open // to be used again
	asked       []*part // of broadcasts, likewise
	unflushed   []*broadcast
	castMembers int // of all broadcasts
	castBytes   int
	counts      Counts
	losses      []loss    // the last lossesMost, oldest first
	autopsies   []autopsy // the last autopsiesMost, oldest first
	buried      buried
	awaited     awaited
	before      before
	later       uint64 // a master epoch above its own that a node knows of: until it is raised nothing is given away
	draining    bool   // it takes no more opens
	ticked      time.Time
	looked      time.Time // for pools that nobody serves
	reader      wire.Reader
	said        said
}

// said is what the core says most, in memory that it uses again.
type said struct {
	offer  wire.Offer
	opened wire.Opened
}

// New returns a broker that starts now.
func New(now time.Time, cfg Config) *Core {
	cfg = cfg.withDefaults()
	return &Core{
		cfg: cfg, started: now, ticked: now,
		table:       assigner.New(cfg.Policy, cfg.Limits),
		nodes:       map[session.NodeID]*node{},
		nodeAt:      map[wire.Peer]*node{},
		clients:     map[uuid.UUID]*client{},
		clientAt:    map[wire.Peer]*client{},
		opens:       map[session.OpenKey]*open{},
		taken:       map[session.OpenKey]*lease{},
		casts:       map[session.OpenKey]*broadcast{},
		past:        newPast(),
		expected:    map[string]bool{},
		deserted:    map[string]time.Time{},
		buried:      newBuried(),
		before:      newBefore(cfg.Before),
		nodeBeats:   heartbeat.New[session.NodeID](cfg.Tick),
		clientBeats: heartbeat.New[uuid.UUID](cfg.Tick),
		reader:      wire.NewReader(true), // what is to last is copied
	}
}

func (cfg Config) withDefaults() Config {
	if cfg.Epoch == 0 {
		cfg.Epoch = 1
	}
	if cfg.Beat <= 0 {
		cfg.Beat = time.Second
	}
	if cfg.Misses <= 0 {
		cfg.Misses = 3
	}
	if cfg.Lease <= 0 {
		cfg.Lease = session.DefaultLease
	}
	if cfg.MaxWait <= 0 {
		cfg.MaxWait = time.Hour
	}
	if cfg.Recovery <= 0 {
		cfg.Recovery = cfg.Beat*time.Duration(cfg.Misses) + time.Second
	}
	if cfg.Tick <= 0 {
		cfg.Tick = 20 * time.Millisecond
	}
	if cfg.Peers <= 0 {
		cfg.Peers = 100_000
	}
	if cfg.Carried <= 0 {
		cfg.Carried = 256 << 20
	}
	return cfg
}

// Recovering reports whether nodes that are not known yet may still come back
// with their sessions.
func (c *Core) Recovering(now time.Time) bool { return now.Before(c.started.Add(c.cfg.Recovery)) }

// Step takes one envelope from a peer. Whatever it holds, it is answered where
// there is somebody to answer, and nobody else notices. The core keeps no part
// of env, but Effects may pass it on.
func (c *Core) Step(now time.Time, from wire.Peer, env []byte, fx *Effects) {
	c.woke(now) // what came while it slept is heard before the next Tick
	kind := wire.KindOf(env)
	switch {
	case kind.ToWorker():
		c.toWorker(now, from, kind, env, fx)
		return
	case kind.ToHolder():
		c.toHolder(from, kind, env, fx)
		return
	}
	m, err := c.reader.Control(env)
	if err != nil {
		code := session.ErrBadMessage
		if !kind.Known() {
			code = session.ErrKindUnknown
		}
		c.bad(from, kind, uuid.Nil, code, err, fx)
		return
	}
	c.control(now, from, m, fx)
}

func (c *Core) control(now time.Time, from wire.Peer, m wire.Control, fx *Effects) {
	switch m := m.(type) {
	case *wire.Hello:
		c.hello(now, from, m, fx)
	case *wire.Beat:
		c.beat(now, from, m, fx)
	case *wire.Open:
		c.open(now, from, m, fx)
	case *wire.Withdraw:
		c.withdraw(now, from, m, fx)
	case *wire.Register:
		c.register(now, from, m, fx)
	case *wire.Accept:
		c.accept(now, from, m, fx)
	case *wire.Decline:
		c.decline(now, from, m, fx)
	case *wire.Ended:
		c.ended(now, from, m, fx)
	case *wire.Leave:
		c.leaves(now, from, m, fx)
	case *wire.Obituary:
		c.obituary(now, from, m, fx)
	case *wire.Autopsy:
		c.autopsied(now, from, m, fx)
	case *wire.Broadcast:
		c.broadcast(now, from, m, fx)
	case *wire.Answer:
		c.answered(from, m, fx)
	case *wire.Heard:
		c.heardOf(now, from, m, fx)
	case *wire.Error:
		c.refusedBy(from, m, fx)
	default:
		c.bad(from, m.Kind(), uuid.Nil, session.ErrKindUnknown, errors.New("a broker takes no "+m.Kind().String()), fx)
	}
}

// bad answers and counts what a peer did wrong.
func (c *Core) bad(to wire.Peer, of wire.Kind, request uuid.UUID, code session.Code, err error, fx *Effects) {
	c.counts.bad(code)
	fx.Events = append(fx.Events, Event{What: EventBad, Peer: to, Code: code, Text: err.Error()})
	if to != 0 && of != wire.KindError { // an error is never answered by an error
		fx.Control(to, &wire.Error{Code: code, Text: wire.Text(err.Error()), Of: of, Request: request})
	}
}

// Malformed answers a frame that could not be taken apart.
func (c *Core) Malformed(from wire.Peer, err error, fx *Effects) {
	code := session.ErrBadMessage
	if errors.Is(err, wire.ErrFrameVersion) {
		code = session.ErrVersion
		err = fmt.Errorf("%w: this broker speaks %d to %d", err, wire.MinVersion, wire.Version)
	}
	c.bad(from, 0, uuid.Nil, code, err, fx)
}

// sleptLeast is by how much a Tick has to be late to count as a sleep.
const sleptLeast = 200 * time.Millisecond

// woke takes time that passed without this broker as not having passed: asleep
// it has neither waited for its nodes nor heard of opens.
func (c *Core) woke(now time.Time) {
	if slept := now.Sub(c.ticked) - c.cfg.Tick; slept > sleptLeast {
		c.started = c.started.Add(slept)
		c.past.horizon = now
		c.ticked = now
	}
}

// Tick lets time pass. It wants to be called several times per beat.
func (c *Core) Tick(now time.Time, fx *Effects) {
	c.woke(now)
	c.ticked = now
	if c.outdated() {
		return
	}
	c.Flush(fx)
	for _, change := range c.nodeBeats.Check(now) {
		c.nodeChanged(now, change, fx)
	}
	for _, change := range c.clientBeats.Check(now) {
		if change.To == heartbeat.Gone {
			c.clientGone(now, change.Who, fx)
		}
	}
	for _, r := range c.table.Expired(now) {
		c.expire(now, r, fx)
	}
	c.expectNoMore(now, fx)
	c.awaitNoMore(now)
	c.repeatOffers(now, fx)
	c.watchCasts(now, fx)
	c.past.expire(now)
	c.forgetPools(now)
	c.buried.expire(now)
	c.pump(now, fx)
}
