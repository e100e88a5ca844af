package worker

import (
	"bufio"
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

	"go.opentelemetry.io/otel/trace"

	"github.com/limpet-rpc/limpet/internal/keep"
	"github.com/limpet-rpc/limpet/internal/span"
	"github.com/limpet-rpc/limpet/internal/supervise"
	"github.com/limpet-rpc/limpet/internal/version"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmqio"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// tick is how often the core is told the time.
const tick = 20 * time.Millisecond

// chance is how many random bytes are drawn at once.
const chance = 512

// Serve makes this process a node: it serves the pools until ctx ends or a
// broker drains it, then takes nothing new, lets its sessions end or ends them
// (their Close runs), says good-bye, and returns nil. It blocks. Brokers may come and go meanwhile; only mistakes in
// the options or pools are errors.
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
	began   time.Time
	name    string
	log     *slog.Logger
	loop    *zmqio.Loop
	pools   map[string]Served
	grace   time.Duration
	notes   notes
	badges  badges
	lanes   map[string][]*lane // by pool
	laned   sync.WaitGroup
	towers  *towers           // nil: threads wait as any goroutine does
	stocks  map[string]*stock // by pool
	says    sayings
	coroner *coroner
	tasks   sync.WaitGroup

	parent *supervise.Parent // nil: this is no worker process; fixed before run

	mu       sync.Mutex
	core     *core.Core
	reports  reports       // guarded by mu
	contexts []callContext // likewise: to be used

	kept  keep.Arena      // owned by the loop
	fx    core.Effects    // owned by the loop
	soon  []*core.Session // likewise: memory of Foresee
	batch bool            // owned by the loop: it holds mu and gathers effects
	now   time.Time       // owned by the loop: when the batch began
	spare sync.Pool       // of *core.Effects, for the sessions' goroutines

	left atomic.Pointer[task] // whose calls have ended, linked by ended.next, see done

	drained chan time.Duration // holds one: a broker asks the node to end by then, 0: whenever

	tracer trace.Tracer // of the runs' spans, nil: none; fixed after newNode

	noise noise // owned by the loop
}

func newNode(o Options, pools []Served) (*node, error) {
	if len(pools) == 0 {
		return nil, errNoPools
	}
	n := &node{began: time.Now(), log: o.Logger, name: o.Name, grace: o.Grace, pools: map[string]Served{}, drained: make(chan time.Duration, 1)}
	n.spare.New = func() any { return new(core.Effects) }
	n.noise.brokers = map[wire.Peer]string{}
	if n.log == nil {
		n.log = slog.Default()
	}
	if o.Tracer != nil {
		n.tracer = o.Tracer.Tracer(span.Scope, trace.WithInstrumentationVersion(version.String()))
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
	n.towers = newTowers(cfg.Pools)
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
	n.core = core.New(time.Now(), cfg, bufio.NewReaderSize(rand.Reader, chance))
	if err := n.connect(o.Broker); err != nil {
		return nil, errors.Join(err, n.discard())
	}
	n.notes.open(n.log, o, n.id, cfg.Pools)
	return n, nil
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

func (n *node) connect(brokers string) error {
	for endpoint := range strings.SplitSeq(brokersOf(brokers), ",") {
		peer, err := n.loop.Connect(strings.TrimSpace(endpoint))
		if err != nil {
			return fmt.Errorf("broker %q: %w", endpoint, err)
		}
		n.noise.brokers[peer] = strings.TrimSpace(endpoint)
		n.core.AddBroker(time.Now(), peer, &n.fx)
	}
	return nil
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
