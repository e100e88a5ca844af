package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/assigner"
	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/broker/feed"
	"github.com/limpet-rpc/limpet/internal/startrec"
	"github.com/limpet-rpc/limpet/internal/version"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmqio"
	"github.com/limpet-rpc/limpet/session"
)

// DefaultListen is where a broker listens when nobody says otherwise.
const DefaultListen = "tcp://127.0.0.1:7700"

// tick is how often the core is told the time.
const tick = 20 * time.Millisecond

// Options of a broker. The zero value listens at DefaultListen.
type Options struct {
	Listen string          // endpoint for clients and nodes; port 0 or * takes a free one
	Name   string          // how status shows it; default the host's name
	Policy assigner.Policy // placement
	Queue  int             // opens that may wait per pool, default 1024
	Beat   time.Duration   // default 1 s
	Misses int             // beats in a row that may be missed, default 3
	Lease  time.Duration   // of a client that waits in a queue, default 10 s
	// Recovery is how long after its start the broker waits for nodes to come
	// back before it judges what it does not know; default Beat*Misses + 1 s.
	Recovery time.Duration
	// Records is the folder of the start records of this machine's nodes, see
	// worker.Options; the broker looks there for nodes that have died.
	Records string
	Logger  *slog.Logger // default slog.Default
	// Feed is told what happens; default one of the broker's own. Brokers of one
	// process that follow each other may share it.
	Feed *feed.Feed

	// Of a broker that is the master of a cell, see package broker/cell.

	Cell     uuid.UUID           // stands for all its masters; default: an id of this broker's own
	Epoch    uint64              // under which it is master, default 1
	Tick     time.Duration       // how often Pulse is called, default 20 ms
	Pulse    func(now time.Time) // called by the loop that does the work; must not block
	Outdated func(epoch uint64)  // called by it when a node knows a higher one; must not block
	// Heir says that Before are all the nodes that the master before had: opens
	// are judged as soon as those are back. Heritage is called by the loop with
	// what the next one has to wait for, whenever that changes; must not block.
	Heir     bool
	Before   []session.NodeID
	Heritage func(nodes []session.NodeID)
}

// Server is a broker. New makes it listen, Run makes it work.
type Server struct {
	// fixed after New
	log      *slog.Logger
	feed     *feed.Feed
	loop     *zmqio.Loop
	endpoint string
	started  time.Time
	records  string        // empty: none are looked for
	every    time.Duration // how often
	pulse    func(now time.Time)
	outdated func(epoch uint64)
	heritage func(nodes []session.NodeID)
	done     chan struct{} // closed when Run returns

	// owned by the loop
	core *core.Core
	fx   core.Effects
	news news
}

// New checks the library and binds the endpoint. Errors name what is missing
// or the port that is in use.
func New(o Options) (*Server, error) {
	if o.Listen == "" {
		o.Listen = DefaultListen
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Name == "" {
		o.Name, _ = os.Hostname() // an unnamed host has an unnamed broker
	}
	if err := o.settle(); err != nil {
		return nil, err
	}
	now := time.Now()
	s := &Server{log: o.Logger, feed: o.Feed, started: now, done: make(chan struct{}), pulse: o.Pulse, outdated: o.Outdated, heritage: o.Heritage}
	s.records, s.every = o.Records, o.Beat/5
	if s.records == "" {
		s.records = startrec.DefaultDir()
	}
	if s.every <= 0 {
		s.every = 200 * time.Millisecond
	}
	s.core = core.New(now, core.Config{
		ID: o.Cell, Epoch: o.Epoch, Elected: o.Outdated != nil, Heir: o.Heir, Before: o.Before,
		Name: o.Name, Program: "limpet/" + version.String(), Beat: o.Beat, Misses: o.Misses, Lease: o.Lease,
		Recovery: o.Recovery, Policy: o.Policy, Limits: assigner.Limits{Queue: o.Queue}, Tick: o.Tick,
	})
	var err error
	if s.loop, err = zmqio.NewLoop(s, zmqio.Options{Tick: o.Tick, Alone: true}); err != nil {
		return nil, fmt.Errorf("broker: %w", err)
	}
	if s.endpoint, err = s.loop.Listen(o.Listen); err != nil {
		return nil, fmt.Errorf("broker: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

// settle fills in what makes the broker a master, or one that is alone.
func (o *Options) settle() error {
	if o.Tick <= 0 {
		o.Tick = tick
	}
	if o.Feed == nil {
		o.Feed = new(feed.Feed)
	}
	if o.Cell != uuid.Nil {
		return nil
	}
	id, err := uuid.NewRandom()
	if err != nil {
		return fmt.Errorf("broker: draw its id: %w", err)
	}
	o.Cell = id
	return nil
}

// Close gives the endpoint back where Run is not called after all.
func (s *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return s.loop.Run(ctx)
}

// Endpoint is where the broker listens, with the port it got.
func (s *Server) Endpoint() string { return s.endpoint }

// Run works until ctx ends, and blocks. It returns nil then.
func (s *Server) Run(ctx context.Context) error {
	defer close(s.done)
	s.log.Info("broker listens", "endpoint", s.endpoint)
	loopCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var watch sync.WaitGroup
	watch.Go(func() { s.watchTheDead(loopCtx) })
	defer watch.Wait()
	defer stop()
	drained := make(chan struct{})
	undrain := context.AfterFunc(ctx, func() {
		defer close(drained)
		if !errors.Is(context.Cause(ctx), ErrReplaced) {
			s.drain()
		}
		stop()
	})
	err := s.loop.Run(loopCtx)
	if !undrain() {
		<-drained
	}
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	return nil
}

// watchTheDead gives up nodes of this machine that have died, until ctx ends.
func (s *Server) watchTheDead(ctx context.Context) {
	if s.records == startrec.Off {
		return
	}
	look := time.NewTicker(s.every)
	defer look.Stop()
	for {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
		dead, err := startrec.Collect(s.records)
		if err != nil {
			s.log.Debug("look for start records", "error", err)
		}
		for _, o := range dead {
			s.loop.Do(func() { s.step(func() { s.core.BuryAll(s.loop.Time(), o.Node, o.Started, o.Cause, &s.fx) }) })
		}
	}
}

// ErrReplaced is the cause of the end of Run's context that has a master stop
// at once: there is another one, and nobody listens to what this one still has
// to say.
var ErrReplaced = errors.New("broker: another master has taken over")

// SetEpoch raises the epoch of a master that stays one. It does not block.
func (s *Server) SetEpoch(epoch uint64) { s.loop.Do(func() { s.core.SetEpoch(epoch) }) }

// drainFor bounds the wait for offers that are out when the broker ends.
const drainFor = 500 * time.Millisecond

// drain sends those that wait to another broker and waits a moment for the
// offers that are out.
func (s *Server) drain() {
	s.loop.Do(func() { s.step(func() { s.core.Drain(s.loop.Time(), &s.fx) }) })
	ctx, cancel := context.WithTimeout(context.Background(), drainFor)
	defer cancel()
	look := time.NewTicker(tick)
	defer look.Stop()
	for s.offers(ctx) > 0 {
		select {
		case <-look.C:
		case <-ctx.Done():
		}
	}
}

// offers is how many opens are on offer, 0 where nobody can say.
func (s *Server) offers(ctx context.Context) int {
	left := make(chan int, 1)
	s.loop.Do(func() { left <- s.core.Offers() })
	select {
	case n := <-left:
		return n
	case <-s.loop.Done():
	case <-ctx.Done():
	}
	return 0
}

// ErrNoNode is DrainNode for a node that is not known, has no connection, or
// whose name is another's too.
var ErrNoNode = errors.New("broker: no such node")

// DrainNode asks the node with that id or name to take nothing new and to end
// when its sessions have, or when the deadline (0: none) has passed. It blocks
// until the loop has come round, not until the node has ended; Status shows
// what it still waits for.
func (s *Server) DrainNode(ctx context.Context, node string, deadline time.Duration) (session.NodeID, error) {
	type answer struct {
		id session.NodeID
		ok bool
	}
	got := make(chan answer, 1)
	s.loop.Do(func() {
		id, ok := s.core.NodeNamed(node)
		if ok {
			s.step(func() { ok = s.core.DrainNode(id, deadline, &s.fx) })
		}
		got <- answer{id, ok}
	})
	select {
	case a := <-got:
		if !a.ok {
			return 0, fmt.Errorf("drain node %q: %w", node, ErrNoNode)
		}
		return a.id, nil
	case <-s.done:
		return 0, ErrStopped
	case <-ctx.Done():
		return 0, fmt.Errorf("broker: its loop does not come round: %w", ctx.Err())
	}
}

// ErrStopped is Status of a broker that does not run any more.
var ErrStopped = errors.New("broker: stopped")

// Status takes a snapshot on the loop. It blocks until the loop has come round
// or ctx ends. How many ask at once is the caller's to bound: each waits for a
// turn of its own.
func (s *Server) Status(ctx context.Context) (core.Status, error) { return s.ask(ctx, s.core.Status) }

// Summary is Status without the lists of sessions and queue places: what it
// costs the loop does not grow with them.
func (s *Server) Summary(ctx context.Context) (core.Status, error) { return s.ask(ctx, s.core.Summary) }

func (s *Server) ask(ctx context.Context, what func(time.Time) core.Status) (core.Status, error) {
	answer := make(chan core.Status, 1)
	s.loop.Do(func() { answer <- what(time.Now()) })
	select {
	case st := <-answer:
		return st, nil
	case <-s.done:
		return core.Status{}, ErrStopped
	case <-ctx.Done():
		return core.Status{}, fmt.Errorf("broker: its loop does not come round: %w", ctx.Err())
	}
}

// Feed is what happens here, as it happens.
func (s *Server) Feed() *feed.Feed { return s.feed }

// ErrUnknown is Inspect for what nothing is known of.
var ErrUnknown = errors.New("broker: nothing is known of it")

// InspectSession tells what is known of a session, of its hung calls above all.
// It blocks until the loop has come round or ctx ends.
func (s *Server) InspectSession(ctx context.Context, id session.ID) (core.Inspection, error) {
	return s.inspect(ctx, func(now time.Time) (core.Inspection, bool) { return s.core.InspectSession(now, id) })
}

// InspectNode does so for a node, by its id or name, also for one that is gone.
func (s *Server) InspectNode(ctx context.Context, node string) (core.Inspection, error) {
	return s.inspect(ctx, func(now time.Time) (core.Inspection, bool) { return s.core.InspectNode(now, node) })
}

func (s *Server) inspect(ctx context.Context, look func(time.Time) (core.Inspection, bool)) (core.Inspection, error) {
	type answer struct {
		in core.Inspection
		ok bool
	}
	got := make(chan answer, 1)
	s.loop.Do(func() {
		in, ok := look(time.Now())
		got <- answer{in, ok}
	})
	select {
	case a := <-got:
		if !a.ok {
			return a.in, ErrUnknown
		}
		return a.in, nil
	case <-s.done:
		return core.Inspection{}, ErrStopped
	case <-ctx.Done():
		return core.Inspection{}, fmt.Errorf("broker: its loop does not come round: %w", ctx.Err())
	}
}

// Traffic is what the socket has carried.
func (s *Server) Traffic() zmqio.Stats { return s.loop.Stats() }

// Envelope implements zmqio.Handler.
func (s *Server) Envelope(from wire.Peer, env []byte) {
	s.fx.Reset()
	s.core.Step(s.loop.Time(), from, env, &s.fx)
	s.apply()
}

// Block implements zmqio.Blocks. What a holder and a worker say to each other goes
// on as it lies; of whatever else is that large the core keeps copies.
func (s *Server) Block(from wire.Peer, env []byte, b *zmqio.Block) {
	defer b.Release()
	s.fx.Reset()
	s.core.Step(s.loop.Time(), from, env, &s.fx)
	for i, o := range s.fx.Outs {
		if len(o.Env) == len(env) && &o.Env[0] == &env[0] {
			s.sent(o, s.loop.SendBlock(o.To, b))
			s.fx.Outs = slices.Delete(s.fx.Outs, i, i+1)
			break // it has one receiver
		}
	}
	s.apply()
}

// Begin implements zmqio.Batcher.
func (s *Server) Begin() {}

// End implements zmqio.Batcher: answers to a broadcast that came at once leave
// at once.
func (s *Server) End() { s.step(func() { s.core.Flush(&s.fx) }) }

// Malformed implements zmqio.Handler.
func (s *Server) Malformed(from wire.Peer, err error) {
	s.fx.Reset()
	s.core.Malformed(from, err, &s.fx)
	s.apply()
}

// step runs one step of the core and carries out what it asks for.
func (s *Server) step(f func()) {
	s.fx.Reset()
	f()
	s.apply()
}

// Fresh implements zmqio.Greeter.
func (s *Server) Fresh(peer wire.Peer) {
	s.fx.Reset()
	s.core.Fresh(peer, &s.fx)
	s.apply()
}

// Gone implements zmqio.Handler.
func (s *Server) Gone(peer wire.Peer) {
	s.fx.Reset()
	s.core.Gone(s.loop.Time(), peer, &s.fx)
	s.apply()
}

// Tick implements zmqio.Handler.
func (s *Server) Tick(now time.Time) {
	s.fx.Reset()
	s.core.Tick(now, &s.fx)
	s.apply()
	if s.pulse != nil {
		s.pulse(now)
	}
}

// sent notes what could not be sent.
func (s *Server) sent(o wire.Out, err error) {
	if err != nil && s.log.Enabled(context.Background(), slog.LevelDebug) {
		s.log.Debug("not sent", "to", o.To, "kind", wire.KindOf(o.Env), "error", err)
	}
}

// apply sends what the core wants sent. What cannot be sent is lost, as it
// could be on the way: whoever misses it asks again.
func (s *Server) apply() {
	for _, o := range s.fx.Outs {
		s.sent(o, s.loop.Send(o.To, o.Env))
	}
	for i := range s.fx.Events {
		s.news.event(s.log, s.feed, &s.fx.Events[i])
	}
	if s.heritage != nil && slices.ContainsFunc(s.fx.Events, core.Event.Inherits) {
		s.heritage(s.core.Heritage())
	}
	if s.fx.Outdated > 0 && s.outdated != nil {
		s.outdated(s.fx.Outdated)
	}
}
