package worker

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/limpet-rpc/limpet/internal/chunk"
	"github.com/limpet-rpc/limpet/internal/supervise"
	"github.com/limpet-rpc/limpet/internal/version"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmqio"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// DefaultBroker is where a broker is looked for when nobody says otherwise.
const DefaultBroker = "tcp://127.0.0.1:7700"

// tick is how often the core is told the time.
const tick = 20 * time.Millisecond

// Options of a node. The zero value serves the default broker.
type Options struct {
	// Broker lists the brokers' endpoints, separated by commas. Empty means the
	// environment variable LIMPET_BROKER, or else DefaultBroker.
	Broker string
	// Name is how status shows the node; default host-pid.
	Name string
	// Labels are what an open may ask for.
	Labels map[string]string
	// Beat is how often the node beats, and Misses how many beats in a row may
	// be missed before its sessions are given up; default 1 s and 3.
	Beat   time.Duration
	Misses int
	// Grace is how long open sessions may go on after ctx has ended, before
	// they are ended too; nothing new is taken meanwhile. Default 0: they end at
	// once, after the call that runs. A drain that a broker asks for brings its
	// own deadline.
	Grace time.Duration
	// Direct is where clients reach the node without a broker in between: an
	// endpoint to listen at, tcp://address:port or ipc://path; port 0 or * takes
	// a free one. Default: a free TCP port of the address by which the first
	// broker is reached; "off" for none, so that every call is relayed.
	Direct string
	// Advertise is the endpoint that clients are told, where they reach the node
	// by another one than it listens at.
	Advertise string
	// Records is the folder in which nodes of one machine keep their start
	// records and look for those of the dead, so that a call which a dead node
	// had not started is known as not run. Default: a folder of the user's in the
	// system's temporary one; "off" for none. All of a machine should share it.
	Records string
	// SlotsPerProcess, above 0, has Serve run the slots in worker processes: this
	// program, executed anew with the same arguments, with so many slots of one
	// pool each; 1 is a process a session. Serve then only starts, watches and
	// replaces them, and the program must call it once, with the same pools, in
	// every process; InWorkerProcess tells which one it is. Each is a node of its
	// own, called Name.1, Name.2 and so on. One whose loop does not beat for
	// Beat × Misses is dumped, killed and replaced; one in which a session hangs
	// is drained of the others first. None outlives the process that serves.
	SlotsPerProcess int
	// SharedSlots, above 0, is how many slots the pools with MaxSlots have together
	// at most: where they are all given out, one that needs more gets those that
	// another has had free for 5 × GrowAfter, down to its MinSlots. With
	// SlotsPerProcess a pool grows and shrinks by whole processes.
	SharedSlots int
	// Neighbours is how long the sessions beside a hung one, in the same worker
	// process, may go on before that process is killed; default 1 min.
	Neighbours time.Duration
	// Debugger is the program that is run, for a second at most, to find the
	// native stack of a call that hangs inside C on a locked thread: eu-stack or
	// gdb, or a path to one; default whichever is there, "off" for none. gdb
	// stops the whole process while it looks, some hundred milliseconds.
	Debugger string
	// Logger gets what happens; default slog.Default.
	Logger *slog.Logger
}

// Serve makes this process a node: it serves the pools until ctx ends or a
// broker drains it, then takes nothing new, lets its sessions end or ends them
// (their Close runs), says good-bye, and returns nil. It blocks. Brokers may come and go meanwhile; only mistakes in
// the options or pools, and a missing ZeroMQ library, are errors.
//
// With SlotsPerProcess it also returns nil when every worker process has ended in
// good order, drained by brokers or by its own program's ctx: such a one is not
// replaced. It is an error if no worker process comes up in the first place, and
// if one has to be killed at the end.
func Serve(ctx context.Context, o Options, pools ...Served) error {
	switch up, err := supervise.Find(orDefault(o.Beat, defaultBeat)); {
	case err != nil:
		return fmt.Errorf("serve: %w", err)
	case up != nil:
		return serveFor(ctx, up, o, pools)
	case o.SlotsPerProcess > 0:
		return supervised(ctx, o, pools)
	}
	n, err := newNode(o, pools)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return n.run(ctx)
}

// node feeds the pure core from the loop and from its sessions' goroutines.
type node struct {
	// fixed after newNode
	id      session.NodeID
	name    string
	log     *slog.Logger
	loop    *zmqio.Loop
	pools   map[string]Served
	grace   time.Duration
	notes   notes
	badges  badges
	lanes   map[string][]*lane // by pool
	laned   sync.WaitGroup
	stocks  map[string]*stock // by pool
	says    sayings
	coroner *coroner
	tasks   sync.WaitGroup

	parent *supervise.Parent // nil: this is no worker process; fixed before run

	mu      sync.Mutex
	core    *core.Core
	reports reports // guarded by mu

	fx    core.Effects // owned by the loop
	batch bool         // owned by the loop: it holds mu and gathers effects
	spare sync.Pool    // of *core.Effects, for the sessions' goroutines

	left atomic.Pointer[task] // whose calls have ended, linked by ended.next, see done

	drained chan time.Duration // holds one: a broker asks the node to end by then, 0: whenever

	noise noise // owned by the loop
}

func newNode(o Options, pools []Served) (*node, error) {
	if len(pools) == 0 {
		return nil, errNoPools
	}
	if _, err := zmqio.CheckLibrary(); err != nil {
		return nil, err
	}
	n := &node{log: o.Logger, name: o.Name, grace: o.Grace, pools: map[string]Served{}, drained: make(chan time.Duration, 1)}
	n.spare.New = func() any { return new(core.Effects) }
	if n.log == nil {
		n.log = slog.Default()
	}
	host := hostname()
	if n.name == "" {
		n.name = nameOf(host)
	}
	cfg := core.Config{
		Name: n.name, Host: host, PID: os.Getpid(), Program: "limpet/" + version.String(), Labels: o.Labels,
		Beat: o.Beat, Misses: o.Misses, Tick: tick, Shared: o.SharedSlots,
	}
	if err := n.describe(&cfg, pools); err != nil {
		return nil, err
	}
	n.says = newSayings(n.pools, cfg.Beat)
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, fmt.Errorf("draw the node's id: %w", err)
	}
	n.id = session.NodeID(binary.BigEndian.Uint64(id[:]) | 1)
	cfg.Node = n.id
	n.badges = newBadges(n.id, cfg.Pools)
	n.lanes = newLanes(n, cfg.Pools)
	n.stocks = newStocks(n)
	n.coroner = newCoroner(n, o.Debugger)
	var err error
	if cfg.Secret, err = session.NewKey(rand.Reader); err != nil {
		return nil, fmt.Errorf("draw the node's secret: %w", err)
	}
	n.loop, err = zmqio.NewLoop(n, zmqio.Options{Tick: tick})
	if err != nil {
		return nil, err
	}
	if cfg.Endpoint, err = n.listen(o); err != nil {
		return nil, errors.Join(err, n.discard())
	}
	n.core = core.New(time.Now(), cfg, rand.Reader)
	if err := n.connect(o.Broker); err != nil {
		return nil, errors.Join(err, n.discard())
	}
	n.notes.open(n.log, o, n.id, cfg.Pools)
	return n, nil
}

// hostname is what brokers tell machines apart by.
func hostname() string {
	host, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return host
}

// nameOf is how status shows a node that has no name of its own.
func nameOf(host string) string { return fmt.Sprintf("%s-%d", host, os.Getpid()) }

// discard frees a loop that never ran.
func (n *node) discard() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return n.loop.Run(ctx)
}

func (n *node) describe(cfg *core.Config, pools []Served) error {
	for _, p := range pools {
		d, err := p.describe()
		if err != nil {
			return err
		}
		if n.pools[d.Name] != nil {
			return fmt.Errorf("pool %q is given twice", d.Name)
		}
		n.pools[d.Name] = p
		cfg.Pools = append(cfg.Pools, d)
	}
	if err := shareSlots(cfg); err != nil {
		return err
	}
	return allowThreads(cfg.Pools)
}

// shareSlots refuses what the pools that grow could not begin with.
func shareSlots(cfg *core.Config) error {
	begin, grow := 0, false
	for i := range cfg.Pools {
		if p := &cfg.Pools[i]; p.Most > 0 {
			begin, grow = begin+p.Slots, true
		}
	}
	if cfg.Shared < 0 || cfg.Shared > 0 && (begin > cfg.Shared || !grow) {
		return fmt.Errorf("SharedSlots is %d: the pools with MaxSlots begin with %d slots", cfg.Shared, begin)
	}
	return nil
}

// brokersOf are the endpoints of a node's brokers, separated by commas.
func brokersOf(brokers string) string {
	return cmp.Or(brokers, os.Getenv("LIMPET_BROKER"), DefaultBroker)
}

func firstBroker(brokers string) string {
	first, _, _ := strings.Cut(brokersOf(brokers), ",")
	return strings.TrimSpace(first)
}

func (n *node) connect(brokers string) error {
	for endpoint := range strings.SplitSeq(brokersOf(brokers), ",") {
		peer, err := n.loop.Connect(strings.TrimSpace(endpoint))
		if err != nil {
			return fmt.Errorf("broker %q: %w", endpoint, err)
		}
		n.core.AddBroker(time.Now(), peer, &n.fx)
	}
	return nil
}

// run drives the loop until ctx has ended and the sessions with it.
func (n *node) run(ctx context.Context) error {
	n.startLanes()
	n.startStocks()
	n.apply(&n.fx, n.loop.Send) // the first Hello
	n.say(time.Now())           // before the first Register
	loopCtx, stopLoop := context.WithCancel(context.Background())
	defer stopLoop()
	ended := make(chan error, 1)
	go func() { ended <- n.loop.Run(loopCtx) }()
	var watch sync.WaitGroup
	watchCtx, stopWatch := context.WithCancel(loopCtx)
	watch.Go(func() { n.watchTheDead(watchCtx) })
	watch.Go(func() { n.coroner.run(watchCtx) })
	defer watch.Wait()
	defer stopLoop()
	defer stopWatch()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", errors.Join(err, errLoopEnded))
	case <-ctx.Done():
		n.drain(context.Background(), n.grace, true)
	case deadline := <-n.drained:
		n.log.Info("draining, as a broker asks", "deadline", deadline)
		n.drain(ctx, deadline, deadline > 0)
	}
	if !n.ended() {
		return fmt.Errorf("serve: %w: %d slots are still held %s after their sessions were ended", errHeld, n.held(), endPatience)
	}
	stopWatch() // who has said good-bye is not believed when it tells of the dead
	watch.Wait()
	n.onLoop(n.core.Leave)
	n.settled()
	n.endLanes()
	stopLoop()
	n.notes.close(n.log)
	if err := <-ended; err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// endPatience is how long handlers, Open and Close may go on after their
// sessions were ended: one that ignores its context must not keep its process.
const endPatience = 10 * time.Second

var errHeld = errors.New("handlers do not end")

// ended waits for the sessions' goroutines, for endPatience at the most.
func (n *node) ended() bool {
	all := make(chan struct{})
	go func() { n.tasks.Wait(); close(all) }()
	patience := time.NewTimer(endPatience)
	defer patience.Stop()
	select {
	case <-all:
		return true
	case <-patience.C:
		return false
	}
}

var errLoopEnded = errors.New("the socket loop ended by itself")

// drain takes nothing new, lets the sessions go on for the grace or, where that
// is not bounded, until ctx ends, and ends those that are left.
func (n *node) drain(ctx context.Context, grace time.Duration, bounded bool) {
	n.locked(func(*core.Effects) { n.core.Drain() })
	n.endStocks()
	deadline := time.NewTimer(grace)
	defer deadline.Stop()
	if !bounded {
		deadline.Stop()
	}
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for n.busy() > 0 {
		select {
		case <-look.C:
			continue
		case <-deadline.C:
		case <-ctx.Done():
		}
		n.onLoop(func(fx *core.Effects) {
			n.core.EndAll(time.Now(), session.ErrSessionDrained, "the node is shutting down", fx)
		})
		n.settled() // those that were just begun have a task now
		return
	}
}

// settled waits until the loop has carried out all that the sessions' ends
// asked for.
func (n *node) settled() {
	reached := make(chan struct{})
	n.loop.Do(func() { close(reached) })
	select {
	case <-reached:
	case <-n.loop.Done():
	}
}

func (n *node) held() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.core.Held()
}

// busy is how many slots are held, and broadcasts run, that may be waited for:
// not handlers that hang.
func (n *node) busy() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.core.Held() - n.core.Quarantined() + n.core.Errands()
}

// registered reports that some broker knows the node.
func (n *node) registered() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.core.Registered()
}

// locked runs one step of the core from outside the loop and carries out what
// it asks for.
func (n *node) locked(step func(fx *core.Effects)) { n.lockedFor(n.loop.Send, step) }

func (n *node) lockedFor(send sender, step func(fx *core.Effects)) {
	fx := n.spare.Get().(*core.Effects)
	fx.Reset()
	n.mu.Lock()
	step(fx)
	n.takeErrands(fx)
	n.report(fx)
	n.mu.Unlock()
	n.apply(fx, send)
	n.spare.Put(fx)
}

// sender is one of the loop's ways to send.
type sender func(to wire.Peer, env []byte) error

// sender of a task: a goroutine that is locked to its thread must not yield.
func (t *task) sender() sender {
	if t.lock {
		return t.node.loop.SendPinned
	}
	return t.node.loop.Send
}

// apply carries out what the core asked for. Nothing here waits: a session's
// channels have room for all that the core ever hands out at once.
func (n *node) apply(fx *core.Effects, send sender) {
	for _, s := range fx.Start { // before anybody can hear of it
		if s.Lane() < 0 { // else see seat
			n.newTask(s)
		}
	}
	for _, s := range fx.Open {
		n.laneOf(s).orders <- turn{task: s.Task.(*task), open: true}
	}
	for _, o := range fx.Outs {
		n.send(o, send)
	}
	for i := range fx.Chunks {
		n.sendChunk(&fx.Chunks[i])
	}
	for _, r := range fx.Run {
		r.Session.Task.(*task).give(order{work: work{call: r.Call, errand: r.Errand}})
	}
	for _, e := range fx.Errands {
		go e.Task.(*aside).run()
	}
	for _, s := range fx.Start {
		s.Task.(*task).begin()
	}
	for _, c := range fx.Cancel {
		switch {
		case c.Session != nil:
			c.Session.Task.(*task).cancel(c)
		default:
			c.Errand.Task.(*aside).ctx.finish(context.Canceled)
		}
	}
	for _, tag := range fx.Wake { // their contexts have ended, where they were cancelled
		tag.(chunk.Bell).Ring()
	}
	for _, s := range fx.Stop {
		s.Session.Task.(*task).give(order{stop: s.Why, over: s.Over})
	}
	for _, h := range fx.Hung {
		n.coroner.call(h)
	}
	for _, r := range fx.Resized {
		if k := n.stocks[r.Pool]; k != nil {
			k.resize(r.Slots)
		}
	}
	for _, q := range fx.Quarantine {
		n.poisoned(q.Session.Pool(), q.Session.Worker(), q.Why)
	}
	if fx.Drain != nil {
		select {
		case n.drained <- fx.Drain.Deadline:
		default: // it drains already
		}
	}
	for i := range fx.Events {
		n.noise.event(n.log, &fx.Events[i])
	}
}

// send gives one envelope to the loop. What cannot be sent is lost, as it
// could be on the way: whoever misses it asks again.
func (n *node) send(o wire.Out, send sender) {
	if err := send(o.To, o.Env); err != nil {
		n.log.Debug("not sent", "to", o.To, "kind", wire.KindOf(o.Env), "error", err)
	}
}

// sendChunk gives a chunk to the loop. One that is lost is asked for again.
func (n *node) sendChunk(c *wire.Chunk) {
	if err := chunk.Send(c, n.loop); err != nil {
		n.log.Debug("not sent", "to", c.To, "kind", c.Head.Kind, "error", err)
	}
}

// Begin implements zmqio.Batcher: one lock for all messages that came at once.
func (n *node) Begin() {
	n.fx.Reset()
	n.mu.Lock()
	n.batch = true
}

// End implements zmqio.Batcher.
func (n *node) End() {
	n.batch = false
	n.seat(&n.fx)
	n.takeErrands(&n.fx)
	told := n.reports.take()
	n.mu.Unlock()
	n.tell(told)
	n.apply(&n.fx, n.loop.Send)
}

// Envelope implements zmqio.Handler.
func (n *node) Envelope(from wire.Peer, env []byte) {
	n.step(func(fx *core.Effects) { n.core.Step(n.loop.Time(), from, env, fx) })
}

// Block implements zmqio.Blocks. A chunk is kept where it came; whatever else is
// that large is the collector's, for handlers keep their arguments.
func (n *node) Block(from wire.Peer, env []byte, b *zmqio.Block) {
	defer b.Release()
	if wire.KindOf(env) != wire.KindArgChunk {
		n.Envelope(from, bytes.Clone(env))
		return
	}
	n.step(func(fx *core.Effects) { n.core.StepIn(n.loop.Time(), from, env, chunk.Received{Block: b}, fx) })
}

// Malformed implements zmqio.Handler.
func (n *node) Malformed(from wire.Peer, err error) {
	n.step(func(fx *core.Effects) { n.core.Malformed(from, err, fx) })
}

// Renewed implements zmqio.Renewer.
func (n *node) Renewed(peer wire.Peer) {
	n.step(func(fx *core.Effects) { n.core.Renewed(n.loop.Time(), peer, fx) })
}

// Gone implements zmqio.Handler. A holder that is gone may come back by
// another connection; its lease decides.
func (n *node) Gone(wire.Peer) {}

// Tick implements zmqio.Handler.
func (n *node) Tick(now time.Time) {
	n.say(now)
	n.step(func(fx *core.Effects) { n.core.Tick(now, fx) })
	n.beatUp(now)
}

// openDone reports the end of a pool's Open. It does so on the loop, as closed
// does: what brokers are told of slots leaves in the order in which it
// happened.
func (n *node) openDone(t *task, err error) {
	n.onLoop(func(fx *core.Effects) { n.core.OpenDone(time.Now(), t.session, err, fx) })
}

// closed reports the end of a pool's Close.
func (n *node) closed(t *task) {
	n.onLoop(func(fx *core.Effects) { n.core.Closed(time.Now(), t.session, fx) })
}

func (n *node) onLoop(step func(fx *core.Effects)) {
	n.loop.Do(func() { n.step(step) })
}

// step runs one step of the core on the loop.
func (n *node) step(f func(fx *core.Effects)) {
	if n.batch {
		f(&n.fx)
		return
	}
	n.fx.Reset()
	n.mu.Lock()
	f(&n.fx)
	n.seat(&n.fx)
	n.takeErrands(&n.fx)
	told := n.reports.take()
	n.mu.Unlock()
	n.tell(told)
	n.apply(&n.fx, n.loop.Send)
}

// seat makes the tasks of sessions that share lanes, while mu is held: a lane
// may have a turn for one of them as soon as it is not.
func (n *node) seat(fx *core.Effects) {
	for _, s := range fx.Start {
		if s.Lane() >= 0 {
			n.newTask(s)
		}
	}
}

func (n *node) newTask(s *core.Session) {
	s.Task = newTask(n, s, n.pools[s.Pool()])
	n.tasks.Add(1)
}

// ended is the end of a call, or of a broadcast's errand, that the core is to be
// told of.
type ended struct {
	number uint64
	errand *core.Errand // nil: a call
	reply  session.Reply
	next   *task
}

// done reports the end of a call, or of a broadcast's errand. While the loop is
// awake it is left for the loop, which tells the core of all that have ended at
// once; otherwise, or where the session has had its next call before this one's
// end, the calling goroutine does so, and goes straight on with what comes next.
func (n *node) done(t *task, number uint64, errand *core.Errand, r session.Reply) {
	t.ended = ended{number: number, errand: errand, reply: r}
	first := t
	if !t.follows {
		n.leave(t)
		if n.loop.Awake() {
			return
		}
		if first = n.left.Swap(nil); first == nil {
			return // somebody else tells of it
		}
	}
	n.lockedFor(t.sender(), func(fx *core.Effects) { n.tellEnded(first, fx) })
}

// leave adds a task to those whose calls have ended.
func (n *node) leave(t *task) {
	for {
		t.ended.next = n.left.Load()
		if n.left.CompareAndSwap(t.ended.next, t) {
			return
		}
	}
}

// Left implements zmqio.Gatherer.
func (n *node) Left() bool { return n.left.Load() != nil }

// Gather implements zmqio.Gatherer.
func (n *node) Gather() {
	if t := n.left.Swap(nil); t != nil {
		n.step(func(fx *core.Effects) { n.tellEnded(t, fx) })
	}
}

// tellEnded tells the core of the calls of t and of all behind it, while mu is
// held. As soon as it is not, the session's goroutine may have the next.
func (n *node) tellEnded(t *task, fx *core.Effects) {
	for t != nil {
		e, runs := t.ended, len(fx.Run)
		t.ended = ended{}
		if e.errand == nil {
			n.core.Done(n.loop.Time(), t.session, e.number, e.reply, fx)
		} else {
			n.core.ErrandDone(n.loop.Time(), e.errand, e.reply, fx)
		}
		t.follows = !t.laned && len(fx.Run) > runs
		t = e.next
	}
}
