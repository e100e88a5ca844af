package core

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Config is what a client is told at its start.
type Config struct {
	ID      uuid.UUID
	Name    string
	Program string
	Beat    time.Duration // to the broker; default: what its Welcome asks for
	Misses  int           // unanswered beats after which a broker counts as silent; default 3
	Tick    time.Duration // how often Tick will be called; default 20 ms
	Relay   bool          // never connect to nodes: all goes by the brokers
	Credit  int           // bytes kept of one stream; default session.DefaultCredit
	Road    int           // bytes of streams on their way to one peer; default session.DefaultRoad
}

// Result is the end of one open, call or close.
type Result struct {
	Tag     any
	Session *Session // of an open that succeeded
	Body    []byte   // of a reply
	Raw     bool
	Lent    bool           // Body shares the envelope's memory
	Flow    *Flow          // a reply that came as chunks, in the place of Body; its Begun has come, or will
	Sum     bool           // and its worker gives its checksum
	Next    bool           // the body is a wire.Next: the call goes on elsewhere
	Answers int            // of a broadcast: how many have come, or will
	Err     *session.Error // nil where it succeeded
}

// Effects is what one step asks for.
type Effects struct {
	wire.Batch
	Results []Result
	Places  []Place
	Steps   []Step
	Answers []Answer
	Begun   []Begun
	Wake    []any // tags of Feed and Take: look again
	Dials   []Dial
	Hangups []wire.Peer // connections of Dials that are not needed any more
	Events  []Event
}

// Place is news of an open that waits.
type Place struct {
	Tag   any
	Place int
}

// Step is one value of a call's progress.
type Step struct {
	Tag  any
	Body []byte // shares the envelope's memory
	Raw  bool
}

// Event is one thing that happened, for the log.
type Event struct {
	What string
	Peer wire.Peer
	Code session.Code
	Text string
}

// What happened.
const (
	EventBad       = "bad message"
	EventWelcome   = "connected"
	EventSilent    = "broker silent"
	EventRefusedBy = "refused by broker"
)

// Reset empties the effects for the next step.
func (fx *Effects) Reset() {
	fx.Batch.Reset()
	clear(fx.Results)
	clear(fx.Places)
	clear(fx.Steps)
	clear(fx.Answers)
	fx.Answers = fx.Answers[:0]
	clear(fx.Begun)
	clear(fx.Wake)
	fx.Begun, fx.Wake = fx.Begun[:0], fx.Wake[:0]
	fx.Steps, fx.Dials, fx.Hangups = fx.Steps[:0], fx.Dials[:0], fx.Hangups[:0]
	fx.Results, fx.Places, fx.Events = fx.Results[:0], fx.Places[:0], fx.Events[:0]
}

// Core is the client's state. It is not safe for concurrent use; its owner
// locks.
type Core struct {
	cfg    Config
	chance io.Reader
	lots   session.Lots

	brokers  map[wire.Peer]*broker
	order    []*broker // as they were added: the first that is there is used
	opens    map[uuid.UUID]*Opening
	asked    uint64 // how many opens and broadcasts there have been
	casts    map[uuid.UUID]*Cast
	sessions map[session.ID]*Session
	nearby   session.Nearby[Session] // some of them
	soon     []**Session             // memory of Soon
	attaches map[uint64]*attaching
	nodes    map[session.NodeID]*node
	directs  map[session.NodeID]*direct
	directAt map[wire.Peer]*direct
	roads    map[wire.Peer]*session.Road
	inflows  int // replies that come as chunks
	retries  retries
	beats    *heartbeat.Monitor[wire.Peer]
	spare    [][]byte // envelopes to use again
	reader   wire.Reader
}

// New returns a client that has no brokers yet. Chance makes request ids.
func New(cfg Config, chance io.Reader) *Core {
	if cfg.Misses <= 0 {
		cfg.Misses = 3
	}
	if cfg.Tick <= 0 {
		cfg.Tick = 20 * time.Millisecond
	}
	cfg.Credit, cfg.Road = cmp.Or(cfg.Credit, session.DefaultCredit), cmp.Or(cfg.Road, session.DefaultRoad)
	return &Core{
		cfg: cfg, chance: chance, lots: session.NewLots(chance),
		brokers:  map[wire.Peer]*broker{},
		opens:    map[uuid.UUID]*Opening{},
		casts:    map[uuid.UUID]*Cast{},
		sessions: map[session.ID]*Session{},
		nearby:   session.NewNearby[Session](),
		attaches: map[uint64]*attaching{},
		nodes:    map[session.NodeID]*node{},
		directs:  map[session.NodeID]*direct{},
		roads:    map[wire.Peer]*session.Road{},
		directAt: map[wire.Peer]*direct{},
		beats:    heartbeat.New[wire.Peer](cfg.Tick),
	}
}

// Step takes one envelope from a peer: a broker, or a node on the direct path. Of a
// reply (wire.KindReply) nothing is kept but in a Result's Body, which is Lent; of
// others a part may be.
func (c *Core) Step(now time.Time, from wire.Peer, env []byte, fx *Effects) {
	c.StepIn(now, from, env, nil, fx)
}

// StepIn is Step for an envelope whose memory is counted: what is kept of it is
// held.
func (c *Core) StepIn(now time.Time, from wire.Peer, env []byte, mem session.Memory, fx *Effects) {
	kind := wire.KindOf(env)
	if kind.ToHolder() {
		var h wire.Header
		body, err := h.Parse(env)
		if err != nil {
			c.bad(from, kind, session.ErrBadMessage, err.Error(), fx)
			return
		}
		c.fromWorker(now, from, &h, body, mem, fx)
		return
	}
	m, err := c.reader.Control(env)
	if err != nil {
		code := session.ErrBadMessage
		if !kind.Known() || kind.ToWorker() {
			code = session.ErrKindUnknown
		}
		c.bad(from, kind, code, err.Error(), fx)
		return
	}
	if b := c.brokers[from]; b != nil {
		c.fromBroker(now, b, m, fx)
	} else if d := c.directAt[from]; d != nil {
		c.heardBy(now, d)
		c.fromNode(now, d, m, fx)
	}
}

// heardBy takes a sign of life of a direct path.
func (c *Core) heardBy(now time.Time, d *direct) {
	if now.Sub(d.heard) > c.cfg.Tick || !d.up {
		d.heard = now
		if d.up {
			c.beats.Beat(now, d.peer)
		}
	}
}

func (c *Core) fromWorker(now time.Time, from wire.Peer, h *wire.Header, body []byte, mem session.Memory, fx *Effects) {
	if d := c.directAt[from]; d != nil {
		if d.node != h.Node {
			c.usurped(now, d, fx)
			return
		}
		c.heardBy(now, d)
	} else if c.brokers[from] == nil {
		return // by a connection that was given up
	}
	if h.Kind == wire.KindLeased {
		c.leased(now, from, h, body, fx)
		return
	}
	if a := c.attaches[h.Number]; a != nil && a.token.Session == h.Session {
		c.attached(now, a, h, body, fx)
		return
	}
	s := c.session(&h.Session)
	if s == nil && h.Key != (session.Key{}) {
		c.onlyAnswer(h, body, fx)
		return
	}
	if s == nil || s.head.node != h.Node {
		return // of a session that is over here
	}
	if h.Epoch != s.head.epoch {
		return // to another holder, or to this client when it was one before, with the same numbers
	}
	switch h.Kind {
	case wire.KindReply:
		if s.denied != nil { // else nothing is written
			s.denied = nil
		}
		if h.Flags&wire.FlagStream != 0 {
			c.streamed(now, s, h, body, fx)
			return
		}
		c.replied(now, s, h, body, fx)
	case wire.KindFail:
		c.failed(now, from, s, h, body, fx)
	case wire.KindProgress:
		c.progress(now, s, h, body, fx)
	case wire.KindReplyChunk:
		c.replyChunk(now, s, h, body, mem, fx)
	case wire.KindArgCredit:
		c.argCredit(now, s, h, fx)
	case wire.KindHeld:
		s.calls.Postpone(h.Number, now.Add(session.RetryMost))
	case wire.KindClosed:
		c.closedBy(now, s, h, fx)
	case wire.KindExpired:
		f := wire.ParseFailure(body)
		c.over(s, &session.Error{Code: h.Code, Text: f.Text, Remote: true}, fx)
		c.forget(s)
	}
}

func (c *Core) fromBroker(now time.Time, b *broker, m wire.Control, fx *Effects) {
	if b.welcomed {
		c.beats.Beat(now, b.peer)
	}
	switch m := m.(type) {
	case *wire.Welcome:
		c.welcome(now, b, m, fx)
	case *wire.Identify:
		c.hello(now, b, fx)
	case *wire.Beat:
	case *wire.Opened:
		c.opened(now, b, m, fx)
	case *wire.Refused:
		c.refused(now, b, m, fx)
		c.refusedCast(now, b, m, fx)
	case *wire.Queued:
		if o := c.opens[m.Request]; o != nil && o.tag != nil {
			fx.Places = append(fx.Places, Place{o.tag, int(m.Place)})
		}
	case *wire.Answered:
		c.answered(now, b, m, fx)
	case *wire.Complete:
		c.completed(now, b, m, fx)
	case *wire.Lost:
		c.lost(now, b.peer, m, fx)
	case *wire.Error:
		c.refusedBy(b, m, fx)
	default:
		c.bad(b.peer, m.Kind(), session.ErrKindUnknown, "a client takes no "+m.Kind().String(), fx)
	}
}

func (c *Core) bad(to wire.Peer, of wire.Kind, code session.Code, text string, fx *Effects) {
	fx.Events = append(fx.Events, Event{What: EventBad, Peer: to, Code: code, Text: text})
	if to != 0 && of != wire.KindError {
		fx.Control(to, &wire.Error{Code: code, Text: wire.Text(text), Of: of})
	}
}

// Malformed answers a frame that could not be taken apart.
func (c *Core) Malformed(from wire.Peer, err error, fx *Effects) {
	c.bad(from, 0, session.ErrBadMessage, err.Error(), fx)
}

// Tick lets time pass. It wants to be called several times per beat.
func (c *Core) Tick(now time.Time, fx *Effects) {
	c.watchBrokers(now, fx)
	c.watchDirects(now, fx)
	c.watchOpens(now, fx)
	c.watchAttaches(now, fx)
	c.watchCasts(now, fx)
	c.look(now, fx)
	c.watchLeases(now, fx)
}

// Shutdown ends everything at once: brokers and workers are told what can be
// told without waiting, and whoever waits gets ErrClientDone.
func (c *Core) Shutdown(now time.Time, fx *Effects) {
	for _, o := range c.opensInOrder() {
		e := infer(session.ErrClientDone, session.NotRun, 0, "")
		if o.sent && o.first != nil {
			e.Outcome = session.Unknown
		}
		c.endOpen(o, e, fx)
		o.first = nil
		c.Withdraw(now, o, fx)
	}
	clear(c.opens)
	for _, k := range c.castsInOrder() {
		c.StopCast(k, session.ErrClientDone, fx)
	}
	for _, nonce := range slices.Sorted(maps.Keys(c.attaches)) {
		a := c.attaches[nonce]
		fx.Results = append(fx.Results, Result{Tag: a.tag, Err: infer(session.ErrClientDone, session.NotRun, 0, "")})
	}
	clear(c.attaches)
	for _, s := range c.Sessions() {
		if s.Ended() == nil {
			s.giveUp = now.Add(closeFor) // said once; the lease is for when it is lost
			c.sendClose(now, s, fx)
		}
		c.fail(now, s, &session.Error{Code: session.ErrClientDone}, fx)
	}
}

// way is the peer by which a session's node is reached: the node itself where
// the direct path is up, else a broker.
func (c *Core) way(s *Session) (wire.Peer, bool) {
	if d := s.direct; d != nil && d.up {
		return d.peer, true
	}
	return c.relay(s)
}

// relay is the broker that a session was last heard through, or any other that
// is there.
func (c *Core) relay(s *Session) (wire.Peer, bool) {
	if b := c.brokers[s.broker]; b != nil && b.welcomed {
		return b.peer, true
	}
	for _, b := range c.order {
		if b.welcomed {
			s.broker = b.peer
			return b.peer, true
		}
	}
	return 0, false
}

// Sessions returns the sessions that are not over, in the order of their ids.
func (c *Core) Sessions() []*Session {
	return slices.SortedFunc(maps.Values(c.sessions), func(a, b *Session) int { return slices.Compare(a.route.Session[:], b.route.Session[:]) })
}

// buffer returns an empty buffer for an envelope of about size bytes.
func (c *Core) buffer(size int) []byte {
	if n := len(c.spare); n > 0 && cap(c.spare[n-1]) >= size {
		b := c.spare[n-1]
		c.spare = c.spare[:n-1]
		return b[:0]
	}
	return make([]byte, 0, size)
}

// Bounds of what is kept for the next call.
const (
	spareMost = 1024
	spareSize = 4096
)

func (c *Core) recycle(env []byte) {
	if cap(env) <= spareSize && len(c.spare) < spareMost {
		c.spare = append(c.spare, env)
	}
}

func infer(code session.Code, o session.Outcome, call uint64, format string, args ...any) *session.Error {
	return &session.Error{Code: code, Outcome: o, Call: call, Text: fmt.Sprintf(format, args...)}
}

// resultOf is what a reply says.
func resultOf(h *wire.Header, body []byte) Result {
	return Result{Body: body, Lent: true, Raw: h.Flags&wire.FlagRaw != 0, Next: h.Flags&wire.FlagNext != 0}
}
