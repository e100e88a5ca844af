package client

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/chunk"
	"github.com/limpet-rpc/limpet/internal/keep"
	"github.com/limpet-rpc/limpet/internal/span"
	"github.com/limpet-rpc/limpet/internal/version"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmqio"
	"github.com/limpet-rpc/limpet/session"
)

// DefaultBroker is where a broker is looked for when nobody says otherwise.
const DefaultBroker = "tcp://127.0.0.1:7700"

// DialTimeout bounds Dial when its context has no deadline.
const DialTimeout = 5 * time.Second

// tick is how often the core is told the time.
const tick = 20 * time.Millisecond

// chance is how many random bytes are drawn at once.
const chance = 512

// Client is one process's connection to its brokers. It is safe for
// concurrent use.
type Client struct {
	// fixed after Dial
	id      uuid.UUID
	name    string
	brokers string
	log     *slog.Logger
	most    int          // bytes of a reply that is collected
	tracer  trace.Tracer // of its calls' spans; nil: it makes none
	loop    *zmqio.Loop
	stop    context.CancelFunc
	ended   chan struct{}  // closed when the loop has ended
	walks   sync.WaitGroup // calls that are gone apart from their callers; added to under mu, while not closed

	_    [64]byte               // all who call read what is above, and write what is below
	left atomic.Pointer[parcel] // what the core has not got yet, linked by behind, see leave
	_    [64]byte

	mu        sync.Mutex
	core      *core.Core
	closed    bool
	watches   map[context.Context]*watch
	watchLook time.Time // when their use was last looked at
	round     uint64    // ticks, from 1 on
	briefs    bool      // there may be calls that wait briefly
	still     bool      // the loop has ended: nobody ticks

	kept    keep.Arena      // owned by the loop
	blocks  []*zmqio.Block  // likewise: to be released at the batch's end
	fx      core.Effects    // likewise
	soon    []*core.Session // likewise: memory of Foresee
	batch   bool            // owned by the loop: it holds mu and gathers effects
	spare   sync.Pool       // of *core.Effects, for callers
	welcome chan struct{}   // owned by the loop until closed: some broker has answered, or refused
	greeted bool            // owned by the loop
}

// Option changes how Dial connects.
type Option func(*config)

type config struct {
	name   string
	log    *slog.Logger
	beat   time.Duration
	misses int
	relay  bool
	most   int
	tracer trace.TracerProvider
}

// WithName says how status shows this client; default the program's name.
func WithName(name string) Option { return func(c *config) { c.name = name } }

// WithLogger sets where connection news goes; default slog.Default.
func WithLogger(log *slog.Logger) Option { return func(c *config) { c.log = log } }

// WithBeat sets how often the broker is asked for a sign of life, and after
// how many unanswered beats another broker is used.
func WithBeat(every time.Duration, misses int) Option {
	return func(c *config) { c.beat, c.misses = every, misses }
}

// WithRelayOnly has every call go by a broker. Without it the client connects
// to the nodes of its sessions, where they can be reached, one connection a
// node, and falls back to the broker by itself.
func WithRelayOnly() Option { return func(c *config) { c.relay = true } }

// DefaultMaxReply is the bound of a reply that is collected.
const DefaultMaxReply = 64 << 20

// WithMaxReply bounds a reply that comes in parts and is collected for its
// caller, in bytes; a larger one ends as ErrTooLarge. Default 64 MiB. Replies
// that go to an io.Writer, or are read as a Stream, have no such bound.
func WithMaxReply(bytes int) Option { return func(c *config) { c.most = bytes } }

// Dial connects to a broker, or to the first that answers of several endpoints
// separated by commas. Empty means the environment variable LIMPET_BROKER, or
// else DefaultBroker. It blocks until a broker has answered, for DialTimeout
// or until ctx ends; then the error is ErrUnreachable and names the endpoints.
// The connection keeps itself up until Close.
func Dial(ctx context.Context, broker string, opts ...Option) (*Client, error) {
	cfg := config{name: filepath.Base(os.Args[0]), log: slog.Default(), most: DefaultMaxReply}
	for _, o := range opts {
		o(&cfg)
	}
	c, err := newClient(broker, cfg)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	if err := c.greet(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func newClient(broker string, cfg config) (*Client, error) {
	if broker == "" {
		broker = os.Getenv("LIMPET_BROKER")
	}
	if broker == "" {
		broker = DefaultBroker
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return nil, fmt.Errorf("draw the client's id: %w", err)
	}
	c := &Client{
		id: id, name: cfg.name, brokers: broker, log: cfg.log, most: cfg.most, ended: make(chan struct{}), welcome: make(chan struct{}),
		watches: map[context.Context]*watch{}, round: 1,
		core: core.New(core.Config{
			ID: id, Name: cfg.name, Program: "limpet/" + version.String(), Beat: cfg.beat, Misses: cfg.misses, Tick: tick, Relay: cfg.relay,
		}, bufio.NewReaderSize(rand.Reader, chance)),
	}
	c.spare.New = func() any { return new(core.Effects) }
	if cfg.tracer != nil {
		c.tracer = cfg.tracer.Tracer(span.Scope, trace.WithInstrumentationVersion(version.String()))
	}
	if c.loop, err = zmqio.NewLoop(c, zmqio.Options{Tick: tick}); err != nil {
		return nil, err
	}
	loopCtx, stop := context.WithCancel(context.Background())
	c.stop = stop
	err = c.connect()
	go c.run(loopCtx)
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Client) connect() error {
	for endpoint := range strings.SplitSeq(c.brokers, ",") {
		endpoint = strings.TrimSpace(endpoint)
		peer, err := c.loop.Connect(endpoint)
		if err != nil {
			return fmt.Errorf("broker %q: %w", endpoint, err)
		}
		c.core.AddBroker(time.Now(), peer, &c.fx)
	}
	c.apply(&c.fx)
	return nil
}

func (c *Client) run(ctx context.Context) {
	defer close(c.ended)
	if err := c.loop.Run(ctx); err != nil {
		c.log.Error("the socket loop ended", "error", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.still = true
	c.endBriefs()
}

// greet waits for the first answer to Hello.
func (c *Client) greet(ctx context.Context) error {
	if _, has := ctx.Deadline(); !has {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, DialTimeout)
		defer cancel()
	}
	select {
	case <-c.welcome:
	case <-ctx.Done():
		return &session.Error{
			Code: session.ErrUnreachable, Outcome: session.NotRun,
			Text: fmt.Sprintf("no broker answers at %s: is one running there?", c.brokers), Cause: ctx.Err(),
		}
	}
	c.mu.Lock()
	ok, why := c.core.Connected()
	c.mu.Unlock()
	if !ok && why != nil {
		return why
	}
	return nil
}

// ID is this client's id, as status shows it.
func (c *Client) ID() uuid.UUID { return c.id }

// Close ends the connection. Sessions that are still open are closed as far as
// that can be said without waiting; whoever waits gets ErrClientDone.
func (c *Client) Close() error {
	fx := c.effects()
	c.mu.Lock()
	if !c.closed {
		c.take(c.left.Swap(nil), fx)
		c.core.Shutdown(time.Now(), fx)
	}
	c.closed = true
	stops := c.restWatches(time.Now(), true)
	c.mu.Unlock()
	stopAll(stops)
	c.finish(fx)
	c.stop()
	<-c.ended
	c.walks.Wait()
	return nil
}

// step runs one step of the core for a caller and carries out what it asks
// for. It is false once the client is closed.
func (c *Client) step(f func(now time.Time, fx *core.Effects)) bool {
	fx := c.effects()
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		c.spare.Put(fx)
		return false
	}
	c.take(c.left.Swap(nil), fx) // f may be about one of them
	f(c.loop.Time(), fx)
	c.mu.Unlock()
	c.finish(fx)
	return true
}

// look runs a look at the core, also when the client has been closed.
func (c *Client) look(f func(c *core.Core, fx *core.Effects)) {
	fx := c.effects()
	c.mu.Lock()
	f(c.core, fx)
	c.mu.Unlock()
	c.finish(fx)
}

func (c *Client) effects() *core.Effects {
	fx := c.spare.Get().(*core.Effects)
	fx.Reset()
	return fx
}

func (c *Client) finish(fx *core.Effects) {
	c.apply(fx)
	c.spare.Put(fx)
}

// apply carries out what the core asked for. A result goes to whoever waits
// for it; each waits for one, and has room for it. Progress goes first: who
// reads it stops at the end of its call, and both may have come at once.
func (c *Client) apply(fx *core.Effects) {
	for _, o := range fx.Outs {
		if err := c.loop.Send(o.To, o.Env); err != nil {
			c.log.Debug("not sent", "kind", wire.KindOf(o.Env), "error", err) // it is sent again
		}
	}
	for i := range fx.Chunks {
		if err := chunk.Send(&fx.Chunks[i], c.loop); err != nil {
			c.log.Debug("not sent", "kind", fx.Chunks[i].Head.Kind, "error", err) // it is sent again
		}
	}
	for _, s := range fx.Steps {
		if p, ok := s.Tag.(stepper); ok {
			p.step(s.Body, s.Raw)
		}
	}
	for i := range fx.Answers {
		a := &fx.Answers[i]
		a.Tag.(*gathering).take(a)
	}
	for i := range fx.Begun {
		fx.Begun[i].Tag.(streamer).begun(fx.Begun[i].Flow)
	}
	for _, tag := range fx.Wake {
		tag.(chunk.Bell).Ring()
	}
	for i := range fx.Results {
		r := &fx.Results[i]
		w, plain := r.Tag.(*replyTo) // most are
		if r.Lent {
			r.Body = w.keep(r.Body, &c.kept)
		}
		if plain {
			w.settle(r)
			continue
		}
		r.Tag.(waiter).settle(r)
	}
	for _, d := range fx.Dials {
		c.dial(d)
	}
	for _, peer := range fx.Hangups {
		c.loop.Disconnect(peer)
	}
	for _, p := range fx.Places {
		p.Tag.(*opening).moved(p.Place)
	}
	for _, e := range fx.Events {
		c.log.Debug(e.What, "client", c.name, "code", e.Code.Error(), "text", e.Text)
	}
}

// dial connects to a node. It does not wait for the connection.
func (c *Client) dial(d core.Dial) {
	peer, err := c.loop.Connect(d.Endpoint)
	if err != nil {
		c.log.Debug("no direct path", "node", d.Node, "endpoint", d.Endpoint, "error", err)
	}
	if !c.step(func(now time.Time, fx *core.Effects) { c.core.Dialled(now, d.Node, peer, fx) }) && err == nil {
		c.loop.Disconnect(peer)
	}
}

// waiter is whoever waits for the end of an open, a call or a close.
type waiter interface{ settle(r *core.Result) }

// streamer is whoever waits for the end of a call, and is told where its reply
// comes in parts.
type streamer interface{ begun(f *core.Flow) }

// stepper is whoever takes the progress of a call, and does not wait.
type stepper interface{ step(body []byte, raw bool) }

// Begin implements zmqio.Batcher: one lock for all messages that came at once.
func (c *Client) Begin() {
	c.fx.Reset()
	c.mu.Lock()
	c.batch = true
}

// End implements zmqio.Batcher.
func (c *Client) End() {
	c.batch = false
	connected, why := true, (*session.Error)(nil)
	if !c.greeted {
		connected, why = c.core.Connected()
	}
	many := c.core.Many()
	c.mu.Unlock()
	if many {
		awake(c.fx.Results)
	}
	c.apply(&c.fx)
	for i, b := range c.blocks {
		b.Release()
		c.blocks[i] = nil
	}
	c.blocks = c.blocks[:0]
	if !c.greeted && (connected || why != nil) {
		c.greeted = true
		close(c.welcome)
	}
}

// onLoop runs one step of the core on the loop.
func (c *Client) onLoop(f func()) {
	if c.batch {
		f()
		return
	}
	c.Begin()
	f()
	c.End()
}

// Envelope implements zmqio.Handler.
func (c *Client) Envelope(from wire.Peer, env []byte) {
	if wire.KindOf(env) != wire.KindReply { // of which the core keeps nothing
		env = c.kept.Keep(env)
	}
	c.onLoop(func() { c.core.Step(c.loop.Time(), from, env, &c.fx) })
}

// Block implements zmqio.Blocks. A chunk is kept where it came.
func (c *Client) Block(from wire.Peer, env []byte, b *zmqio.Block) {
	if wire.KindOf(env) != wire.KindReplyChunk {
		c.onLoop(func() {
			c.Envelope(from, env)
			c.blocks = append(c.blocks, b) // until what is lent of it has been copied
		})
		return
	}
	defer b.Release()
	c.onLoop(func() { c.core.StepIn(c.loop.Time(), from, env, chunk.Received{Block: b}, &c.fx) })
}

// Malformed implements zmqio.Handler.
func (c *Client) Malformed(from wire.Peer, err error) {
	c.onLoop(func() { c.core.Malformed(from, err, &c.fx) })
}

// Renewed implements zmqio.Renewer.
func (c *Client) Renewed(peer wire.Peer) {
	c.onLoop(func() { c.core.Renewed(c.loop.Time(), peer, &c.fx) })
}

// Gone implements zmqio.Handler. A client only has connections of its own,
// which come back by themselves.
func (c *Client) Gone(wire.Peer) {}

// Tick implements zmqio.Handler.
func (c *Client) Tick(now time.Time) {
	var stops []func() bool
	c.onLoop(func() {
		c.core.Tick(now, &c.fx)
		stops = c.restWatches(now, false)
		c.endBriefs()
	})
	stopAll(stops)
}

// Connected reports whether a broker answers just now.
func (c *Client) Connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	ok, _ := c.core.Connected()
	return ok && !c.closed
}
