package core

import (
	"cmp"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/keep"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core/sizing"
)

// Pool is one pool as a node serves it.
type Pool struct {
	Name    string
	Slots   int
	Limits  session.Limits
	Methods []string // sorted
	Locked  bool     // one OS thread per session
	Lanes   int      // threads that the sessions share, 0: none
	Bare    bool     // nothing has to run when a session opens or closes
	Policy  string   // of placement; empty: the brokers'
	Valued  bool     // it says a value for placement, see Core.Say

	// It grows and shrinks between Least and Most slots where Most is above 0, see
	// package sizing.
	Least, Most            int
	Why                    string // it has these slots, where it began with none
	GrowAfter, ShrinkAfter time.Duration

	Stall   time.Duration            // of a reply of which nothing is taken; 0: DefaultStall, below: for ever
	Budget  time.Duration            // of a call without progress; 0 or less: for ever
	Budgets map[string]time.Duration // by method, where it is another
	Lends   map[string]bool          // methods whose handlers have an argument only while they run; others may keep it
}

// Capacity is how many slots the pool may have.
func (p *Pool) Capacity() int { return max(p.Slots, p.Most) }

// Config is what a node is told at its start.
type Config struct {
	Node     session.NodeID
	Secret   session.Key // shows brokers that it is this node that comes back
	Name     string
	Host     string
	PID      int
	Program  string
	Endpoint string
	Labels   map[string]string
	Pools    []Pool
	Shared   int           // slots that the pools which grow have together at most; 0: as many as each may
	Beat     time.Duration // default 1 s
	Misses   int           // default 3
	Tick     time.Duration // how often Tick will be called; default 20 ms
	Credit   int           // bytes kept of one stream; default session.DefaultCredit
	Road     int           // bytes of streams on their way to one peer; default session.DefaultRoad
}

// StillMost caps how long leases stand still while the node has no broker.
const StillMost = time.Minute

// Call is one call as its handler gets it.
type Call struct {
	Number   uint64
	Args     []byte
	Raw      bool
	Traced   bool          // Trace is one
	Stream   *wire.Stream  // the argument comes as chunks: Take has them
	Deadline time.Time     // zero: none
	Patience time.Duration // without progress: 0 as its method has it, below 0 for ever
	Trace    wire.Trace    // the span that it is made under

	Room []byte // where its reply may be written, of no length

	of   *method
	from wire.Peer // the way back of its latest copy
	via  wire.Peer
	mem  []byte // its own, for what it is given of an envelope, and used again with it
}

// Method is its method's name.
func (c *Call) Method() []byte { return c.of.name }

// At is the place of its method in Pool.Methods; -1: it is none of them.
func (c *Call) At() int { return c.of.at }

// Run hands one call to its session's goroutine. The call is its to read until it
// reports the end.
type Run struct {
	Session *Session
	Call    *Call
	Errand  *Errand // the call is a broadcast's, ErrandDone takes its end; else nil
}

// Cancel ends the context of one call, which was handed over before, or that
// of the pool's Open where the number is zero.
type Cancel struct {
	Session *Session // nil: the errand is on the side lane
	Number  uint64
	Errand  *Errand      // not nil: it is that which is cancelled
	Why     session.Code // ErrCancelled or ErrDeadline
}

// Stop ends a session's goroutine after the call that it is in.
type Stop struct {
	Session *Session
	Why     *session.Error
	Over    bool // it is over already: nothing has to run, and nothing to be reported
}

// Effects is what one step asks for.
type Effects struct {
	wire.Batch
	Start   []*Session
	Open    []*Session // of those that were started: their turn on their lanes has come
	Run     []Run
	Cancel  []Cancel
	Stop    []Stop
	Errands []*Errand // to run on the side lane, each on a goroutine of its own
	Hung    []Hung    // where do they hang? Examined is the answer
	// Quarantine names the sessions that were found to hang: their slots are
	// lost until their handlers return.
	Quarantine []Stop
	Resized    []Resized
	Wake       []any  // tags of Take and Give: look again
	Drain      *Drain // a broker asks the node to end
	Events     []Event
}

// Drain is a broker's wish that the node ends.
type Drain struct {
	Deadline time.Duration // from now, 0: none
}

// Resized is a pool whose slots have changed.
type Resized struct {
	Pool  string
	Slots int
}

// Reset empties the effects for the next step.
func (fx *Effects) Reset() {
	fx.Batch.Reset()
	clear(fx.Start)
	clear(fx.Open)
	clear(fx.Run)
	clear(fx.Cancel)
	clear(fx.Stop)
	clear(fx.Hung)
	clear(fx.Errands)
	fx.Errands = fx.Errands[:0]
	clear(fx.Quarantine)
	clear(fx.Wake)
	fx.Wake = fx.Wake[:0]
	fx.Hung, fx.Quarantine = fx.Hung[:0], fx.Quarantine[:0]
	fx.Drain, fx.Resized = nil, fx.Resized[:0]
	fx.Open, fx.Start, fx.Run, fx.Cancel, fx.Stop, fx.Events = fx.Open[:0], fx.Start[:0], fx.Run[:0], fx.Cancel[:0], fx.Stop[:0], fx.Events[:0]
}

// Event is one thing that happened, for the log.
type Event struct {
	What    string
	Peer    wire.Peer
	Session session.ID
	Pool    string
	Code    session.Code
	Text    string
}

// What happened.
const (
	EventBad        = "bad message"
	EventRegistered = "registered"
	EventBrokerLost = "broker lost"
	EventOpened     = "session opened"
	EventEnded      = "session ended"
	EventRefusedBy  = "refused by broker"
	EventOutdated   = "outdated master refused"
	EventResized    = "pool resized"
)

// Core is the node's state. It is not safe for concurrent use; its owner
// locks.
type Core struct {
	cfg  Config
	lots session.Lots

	brokers     map[wire.Peer]*broker
	inOrder     []*broker  // the same, by their peers
	dead        []obituary // oldest first
	pools       map[string]*pool
	sessions    map[session.ID]*Session
	nearby      session.Nearby[Session] // some of them, see live
	soon        []**Session             // memory of Soon
	opens       map[session.OpenKey]*Session
	clients     map[uuid.UUID]*client
	past        past
	declined    declined
	castings    castings
	changes     changes
	untold      []*Session // of one call, open, and not reported yet
	due         dueHeap
	beats       *heartbeat.Monitor[wire.Peer]
	dog         *heartbeat.Watchdog[*Session]
	sizer       *sizing.Sizer // nil: no pool grows
	exams       exams         // of calls
	flows       []*flow       // oldest first
	roads       map[wire.Peer]*session.Road
	spares      []*Call // to be used again
	rooms       []byte  // for replies, see room
	kept        keep.Arena
	quarantined int
	draining    bool
	still       time.Time // since when no broker is there; zero while one is
	lastTick    time.Time
	late        time.Duration // by how much Tick was late at worst since the last beat
	bad         uint64
	reader      wire.Reader
}

// New returns a node that has no brokers yet. Chance makes session ids and
// keys.
func New(now time.Time, cfg Config, chance io.Reader) *Core {
	if cfg.Beat <= 0 {
		cfg.Beat = time.Second
	}
	if cfg.Misses <= 0 {
		cfg.Misses = 3
	}
	if cfg.Tick <= 0 {
		cfg.Tick = 20 * time.Millisecond
	}
	cfg.Credit, cfg.Road = cmp.Or(cfg.Credit, session.DefaultCredit), cmp.Or(cfg.Road, session.DefaultRoad)
	c := &Core{
		cfg: cfg, lots: session.NewLots(chance), reader: wire.NewReader(true),
		brokers:  map[wire.Peer]*broker{},
		pools:    map[string]*pool{},
		sessions: map[session.ID]*Session{},
		nearby:   session.NewNearby[Session](),
		opens:    map[session.OpenKey]*Session{},
		clients:  map[uuid.UUID]*client{},
		roads:    map[wire.Peer]*session.Road{},
		past:     newPast(),
		castings: newCastings(cfg.Tick),
		beats:    heartbeat.New[wire.Peer](cfg.Tick),
		dog:      heartbeat.NewWatchdog[*Session](cfg.Tick),
		still:    now,
		lastTick: now,
	}
	for _, p := range cfg.Pools {
		p.Limits = p.Limits.WithDefaults()
		c.pools[p.Name] = newPool(p)
		c.pools[p.Name].since = now
	}
	c.sizer = newSizer(&cfg)
	return c
}

// Step takes one envelope from a peer: a broker, or a holder on the direct
// path. Of a call's (wire.KindCall) nothing is kept: its memory is the caller's again.
// Of others a part may be.
func (c *Core) Step(now time.Time, from wire.Peer, env []byte, fx *Effects) {
	c.StepIn(now, from, env, nil, fx)
}

// StepIn is Step for an envelope whose memory is counted: what is kept of it is
// held.
func (c *Core) StepIn(now time.Time, from wire.Peer, env []byte, mem session.Memory, fx *Effects) {
	kind := wire.KindOf(env)
	if kind.ToWorker() {
		var h wire.Header
		rest, err := h.Parse(env)
		switch {
		case err != nil && h.Kind != 0: // it can be answered, also by a relay
			c.failTo(from, &h, session.ErrBadMessage, session.NotRun, err.Error(), fx)
			return
		case err != nil:
			c.badFrom(from, kind, session.ErrBadMessage, err, fx)
			return
		}
		c.holder(now, from, &h, rest, mem, fx)
		return
	}
	m, err := c.reader.Control(env)
	if err != nil {
		code := session.ErrBadMessage
		if !kind.Known() || kind.ToHolder() {
			code = session.ErrKindUnknown
		}
		c.badFrom(from, kind, code, err, fx)
		return
	}
	if b := c.brokers[from]; b != nil {
		c.fromBroker(now, b, m, fx)
		return
	}
	c.fromStranger(from, m, fx)
}

func (c *Core) holder(now time.Time, from wire.Peer, h *wire.Header, rest []byte, mem session.Memory, fx *Effects) {
	if h.Node != c.cfg.Node {
		c.failTo(from, h, session.ErrSessionUnknown, session.Unknown, "this is node "+c.cfg.Node.String(), fx)
		return
	}
	switch h.Kind {
	case wire.KindCall:
		c.call(now, from, h, rest, fx)
	case wire.KindCancel:
		c.cancel(now, from, h, fx)
	case wire.KindClose:
		c.close(now, from, h, fx)
	case wire.KindLease:
		c.lease(now, from, h, rest, fx)
	case wire.KindAttach:
		c.attach(now, from, h, rest, fx)
	case wire.KindArgChunk:
		c.argChunk(now, from, h, rest, mem, fx)
	case wire.KindReplyCredit:
		c.replyCredit(now, from, h, fx)
	default:
		c.badFrom(from, h.Kind, session.ErrKindUnknown, errors.New("a node takes no "+h.Kind.String()), fx)
	}
}

// fromStranger answers control messages of peers that are no brokers of this
// node: a client on the direct path may say Hello, and nothing else.
func (c *Core) fromStranger(from wire.Peer, m wire.Control, fx *Effects) {
	switch m := m.(type) {
	case *wire.Hello:
		if m.Min > wire.Version || m.Max < wire.MinVersion {
			c.badFrom(from, m.Kind(), session.ErrVersion,
				fmt.Errorf("peer speaks protocol %d to %d, this node %d to %d", m.Min, m.Max, wire.MinVersion, wire.Version), fx)
			return
		}
		fx.Control(from, &wire.Welcome{
			Version: min(m.Max, wire.Version), Broker: wire.NodeUUID(c.cfg.Node), Name: c.cfg.Name, Program: c.cfg.Program,
			Beat: wire.Millis(c.cfg.Beat), Misses: uint8(min(c.cfg.Misses, 255)), MaxBody: wire.MaxEnvelope,
		})
	case *wire.Beat:
		if !m.Reply {
			fx.Control(from, &wire.Beat{Reply: true})
		}
	default:
		c.badFrom(from, m.Kind(), session.ErrKindUnknown, errors.New("a node takes no "+m.Kind().String()+" from a peer that is not its broker"), fx)
	}
}

func (c *Core) badFrom(to wire.Peer, of wire.Kind, code session.Code, err error, fx *Effects) {
	c.bad++
	fx.Events = append(fx.Events, Event{What: EventBad, Peer: to, Code: code, Text: err.Error()})
	if to != 0 && of != wire.KindError {
		fx.Control(to, &wire.Error{Code: code, Text: wire.Text(err.Error()), Of: of})
	}
}

// Malformed answers a frame that could not be taken apart.
func (c *Core) Malformed(from wire.Peer, err error, fx *Effects) {
	code := session.ErrBadMessage
	if errors.Is(err, wire.ErrFrameVersion) {
		code = session.ErrVersion
	}
	c.badFrom(from, 0, code, err, fx)
}

// Tick lets time pass. It wants to be called several times per beat.
func (c *Core) Tick(now time.Time, fx *Effects) {
	late := now.Sub(c.lastTick) - c.cfg.Tick
	c.late = max(c.late, late)
	c.lastTick = now
	c.tellUntold(fx)
	c.watchBrokers(now, fx)
	c.watchFlows(now, max(0, late), fx)
	c.watchCalls(now, fx)
	c.resize(now, fx)
	c.watchErrands(now, fx)
	for len(c.due) > 0 && !now.Before(c.due[0].at) {
		c.expire(now, c.due[0].of, fx)
	}
	c.past.expire(now)
	c.declined.expire(now)
	c.mourned(now)
}

// expire looks at a session one of whose clocks may have run out.
func (c *Core) expire(now time.Time, s *Session, fx *Effects) {
	s.clocks.Beat(s.client.beat)
	if !c.still.IsZero() && now.Sub(c.still) < StillMost || c.silent(s.client) {
		s.clocks.Beat(now) // no broker, so perhaps no way for the holder's beats
	}
	which := s.clocks.Expired(now)
	if which == "" {
		c.schedule(s)
		return
	}
	c.end(now, s, session.ErrSessionExpired, which+" over", fx)
}

// schedule puts a session's next clock into the heap; a session that only
// beats stays where it is until then.
func (c *Core) schedule(s *Session) {
	due, which := s.clocks.Next()
	switch {
	case which == "" && s.place >= 0:
		heap.Remove(&c.due, s.place)
	case which == "":
	case s.place < 0:
		s.due = due
		heap.Push(&c.due, s)
	default:
		s.due, c.due[s.place].at = due, due
		heap.Fix(&c.due, s.place)
	}
}

// clock is a session's next one.
type clock struct {
	at time.Time // its due; here too, or to compare two would take the memory of both
	of *Session
}

// dueHeap orders sessions by their next clock.
type dueHeap []clock

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].of.place, h[j].of.place = i, j
}

// Push adds a session.
func (h *dueHeap) Push(x any) {
	s := x.(*Session)
	s.place = len(*h)
	*h = append(*h, clock{s.due, s})
}

// Pop removes the last one.
func (h *dueHeap) Pop() any {
	old := *h
	k := old[len(old)-1]
	old[len(old)-1] = clock{}
	*h = old[:len(old)-1]
	k.of.place = -1
	return nil
}

// Sessions returns every session that lives or closes here, in the order of
// their ids.
func (c *Core) Sessions() []*Session {
	return slices.SortedFunc(maps.Values(c.opens), func(a, b *Session) int { return slices.Compare(a.id[:], b.id[:]) })
}
