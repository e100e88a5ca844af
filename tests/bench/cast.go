package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmqio"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// What `cast` promises: the median until a broadcast to many idle members is
// complete, and what a broadcast to a hundred may take of a hundred calls, one
// after another: each a session of one call on the next node, as whoever has no
// broadcast would ask.
const (
	castBound      = 100 * time.Millisecond
	castShareBound = 0.25
	castProcesses  = 4
	castLoop       = 64                     // nodes that share a loop: it looks at all of their sockets in each turn
	castTick       = 100 * time.Millisecond // of a loop; a thousand nodes that look at their clocks more often are a load by themselves
)

// CastRun is one repetition.
type CastRun struct {
	Members  int
	Complete time.Duration // until every member had answered
	Calls    time.Duration // one call to each, one after another; 0: not measured
	Open     time.Duration // the same in sessions that were open before
}

func (r CastRun) share() float64 { return float64(r.Complete) / float64(r.Calls) }

// runCast measures broadcasts to nodes that answer at once. They are simulated:
// each has a connection of its own and the whole of a node's state machine, but
// many share a process, and nothing runs on goroutines of their own.
func runCast(ctx context.Context, args []string, out io.Writer) error {
	o := newOptions("cast", 21, out)
	members := o.set.Int("members", 1000, "nodes of the large broadcast")
	few := o.set.Int("few", 100, "nodes of the one that is held against calls")
	if err := o.parse(args, map[string]string{"repeats": "7"}); err != nil {
		return err
	}
	if *members < castProcesses || *few < castProcesses {
		return usageError{fmt.Errorf("-members and -few must be at least %d", castProcesses)}
	}
	var runs []CastRun
	for _, n := range []int{*members, *few} {
		some, err := measureCasts(ctx, n, n == *few, o)
		if err != nil {
			return err
		}
		runs = append(runs, some...)
	}
	return reportCasts(o, *members, *few, runs, out)
}

func measureCasts(ctx context.Context, members int, calls bool, o *options) ([]CastRun, error) {
	family := &Family{verbose: o.verbose}
	defer family.Stop()
	if _, err := family.Add(ctx, "cast-broker", Setup{}); err != nil {
		return nil, err
	}
	for i := range castProcesses {
		share := members / castProcesses
		if i < members%castProcesses {
			share++
		}
		if _, err := family.Add(ctx, "cast-nodes", Setup{Sessions: share}); err != nil {
			return nil, err
		}
	}
	caller, err := family.Add(ctx, "cast-client", Setup{Sessions: members})
	if err != nil {
		return nil, err
	}
	var runs []CastRun
	for i := range o.repeats {
		run := CastRun{Members: members}
		if err := caller.Ask(ctx, "broadcast", nil, &run.Complete, readyWait); err != nil {
			return nil, err
		}
		if calls {
			if err := errors.Join(caller.Ask(ctx, "calls", nil, &run.Calls, readyWait), caller.Ask(ctx, "open", nil, &run.Open, readyWait)); err != nil {
				return nil, err
			}
		}
		runs = append(runs, run)
		fmt.Fprintf(o.progress, "%d/%d  %d members: %.2f ms\n", i+1, o.repeats, members, milliseconds(run.Complete))
	}
	return runs, nil
}

func reportCasts(o *options, members, few int, runs []CastRun, out io.Writer) error {
	var large, small, calls, open, shares []float64
	for _, r := range runs {
		if r.Calls == 0 {
			large = append(large, milliseconds(r.Complete))
		} else {
			small, calls, shares = append(small, milliseconds(r.Complete)), append(calls, milliseconds(r.Calls)), append(shares, r.share())
			open = append(open, milliseconds(r.Open))
		}
	}
	m := thisMachine()
	fmt.Fprintf(out, "broadcasts to idle simulated nodes in %d processes, until every member has answered; %d repetitions\n%v\n\n", castProcesses, o.repeats, m)
	fmt.Fprintf(out, "%-44s %8s %8s %8s\n", "ms", "min", "median", "max")
	row := func(name string, list []float64) Spread {
		s := spreadOf(list)
		fmt.Fprintf(out, "%-44s %8.2f %8.2f %8.2f\n", name, s.Min, s.Median, s.Max)
		return s
	}
	whole := row(fmt.Sprintf("broadcast to %d nodes", members), large)
	row(fmt.Sprintf("broadcast to %d nodes", few), small)
	row(fmt.Sprintf("%d calls, one after another", few), calls)
	share := row("their ratio", shares)
	row(fmt.Sprintf("%d calls in sessions that are open", few), open)
	fmt.Fprintln(out)
	if err := o.write(struct {
		Machine Machine
		Runs    []CastRun
	}{m, runs}); err != nil {
		return err
	}
	return errors.Join(
		o.verdict(out, whole.Median <= milliseconds(castBound), fmt.Sprintf("median of %d members: %.2f ms, bound %v", members, whole.Median, castBound)),
		o.verdict(out, share.Median <= castShareBound, fmt.Sprintf("broadcast to %d nodes over %d calls: %.3f, bound %.2f", few, few, share.Median, castShareBound)),
	)
}

// castBrokerRole is a broker that waits for no node of another one.
func castBrokerRole(ctx context.Context, p *Process) error {
	s, err := broker.New(broker.Options{Listen: "tcp://127.0.0.1:0", Recovery: time.Millisecond})
	if err != nil {
		return err
	}
	p.Ready(s.Endpoint())
	return s.Run(ctx)
}

// castNodes are the simulated nodes of one loop, which everything is owned by.
type castNodes struct {
	loop   *zmqio.Loop
	byPeer map[wire.Peer]*castNode
	all    []*castNode
}

type castNode struct {
	core *core.Core
	fx   core.Effects
}

// castNodesRole serves as many nodes as it is told.
func castNodesRole(ctx context.Context, p *Process) error {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(os.Getpid()))
	var loops []*castNodes
	for left := p.Sessions; left > 0; left -= castLoop {
		seed[31]++
		h, err := newCastNodes(p.At[0], min(left, castLoop), rand.NewChaCha8(seed)) // one each: loops run at once
		if err != nil {
			return err
		}
		loops = append(loops, h)
	}
	p.Ready("")
	errs := make([]error, len(loops))
	var running sync.WaitGroup
	for i, h := range loops {
		running.Go(func() { errs[i] = h.loop.Run(ctx) })
	}
	running.Wait()
	return errors.Join(errs...)
}

// newCastNodes connects so many nodes. Nothing runs yet.
func newCastNodes(broker string, nodes int, chance *rand.ChaCha8) (*castNodes, error) {
	h := &castNodes{byPeer: map[wire.Peer]*castNode{}}
	var err error
	if h.loop, err = zmqio.NewLoop(h, zmqio.Options{Tick: castTick}); err != nil {
		return nil, err
	}
	for range nodes {
		peer, err := h.loop.Connect(broker)
		if err != nil {
			return nil, err
		}
		id := session.NodeID(chance.Uint64() | 1)
		n := &castNode{core: core.New(time.Now(), core.Config{
			Node: id, Name: id.String(), Labels: map[string]string{"node": id.String()}, Host: "simulated", PID: 1, Tick: castTick,
			Pools: []core.Pool{{Name: limpetPool, Slots: 2, Methods: []string{"echo"}, Bare: true}},
		}, chance)}
		h.byPeer[peer] = n
		h.all = append(h.all, n)
		n.core.AddBroker(time.Now(), peer, &n.fx)
		h.apply(n)
	}
	return h, nil
}

// Envelope implements zmqio.Handler.
func (h *castNodes) Envelope(from wire.Peer, env []byte) {
	env = bytes.Clone(env) // of which the core keeps a part
	h.step(h.byPeer[from], func(n *castNode) { n.core.Step(h.loop.Time(), from, env, &n.fx) })
}

// Malformed implements zmqio.Handler.
func (h *castNodes) Malformed(from wire.Peer, err error) {
	h.step(h.byPeer[from], func(n *castNode) { n.core.Malformed(from, err, &n.fx) })
}

// Gone implements zmqio.Handler.
func (h *castNodes) Gone(wire.Peer) {}

// Tick implements zmqio.Handler.
func (h *castNodes) Tick(now time.Time) {
	for _, n := range h.all {
		h.step(n, func(n *castNode) { n.core.Tick(now, &n.fx) })
	}
}

func (h *castNodes) step(n *castNode, f func(*castNode)) {
	n.fx.Reset()
	f(n)
	h.apply(n)
}

// apply sends, and answers whatever is to run.
func (h *castNodes) apply(n *castNode) {
	for len(n.fx.Outs)+len(n.fx.Run)+len(n.fx.Errands)+len(n.fx.Stop) > 0 {
		for _, o := range n.fx.Outs {
			_ = h.loop.Send(o.To, o.Env) // what is lost is asked for again
		}
		runs, errands, stops := slices.Clone(n.fx.Run), slices.Clone(n.fx.Errands), slices.Clone(n.fx.Stop)
		n.fx.Reset()
		for _, r := range runs {
			n.core.Done(h.loop.Time(), r.Session, r.Call.Number, &session.Reply{Raw: true, Body: r.Call.Args}, &n.fx)
		}
		for _, s := range stops {
			if !s.Over {
				n.core.Closed(h.loop.Time(), s.Session, &n.fx)
			}
		}
		for _, e := range errands {
			n.core.ErrandDone(h.loop.Time(), e, session.Reply{Raw: true, Body: e.Call().Args}, &n.fx)
		}
	}
}

// castClientRole asks all of them.
func castClientRole(ctx context.Context, p *Process) error {
	c, err := client.Dial(ctx, p.At[0])
	if err != nil {
		return err
	}
	body := make([]byte, 64)
	for late := time.Now().Add(nodeWait); ; { // until all have registered
		sum, err := client.Broadcast[[]byte](ctx, c, limpetPool, "echo", body).Wait()
		if err == nil && sum.Members == p.Sessions && sum.All() {
			break
		}
		if time.Now().After(late) || ctx.Err() != nil {
			return fmt.Errorf("%+v of %d members, %w", sum, p.Sessions, err)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	var nodes []client.OpenOption
	var sessions []*client.Session
	for a, err := range client.Broadcast[[]byte](ctx, c, limpetPool, "echo", body).Answers() {
		if err != nil {
			return err
		}
		nodes = append(nodes, client.WithLabels(map[string]string{"node": a.Name}))
	}
	p.Answer("broadcast", func(json.RawMessage) (any, error) {
		began := sharedClock()
		sum, err := client.Broadcast[[]byte](ctx, c, limpetPool, "echo", body).Wait()
		took := sharedClock() - began
		if err == nil && (!sum.All() || sum.Members != p.Sessions) {
			err = fmt.Errorf("complete with %+v", sum)
		}
		return took, err
	})
	p.Answer("calls", func(json.RawMessage) (any, error) {
		began := sharedClock()
		for _, on := range nodes {
			if _, err := client.Do[[]byte](ctx, c, limpetPool, "echo", body, on); err != nil {
				return nil, err
			}
		}
		return sharedClock() - began, nil
	})
	p.Answer("open", func(json.RawMessage) (any, error) {
		for _, on := range nodes[len(sessions):] { // the first time
			s, err := c.Open(ctx, limpetPool, on)
			if err != nil {
				return nil, err
			}
			sessions = append(sessions, s)
		}
		began := sharedClock()
		for _, s := range sessions {
			if _, err := client.Call[[]byte](ctx, s, "echo", body); err != nil {
				return nil, err
			}
		}
		return sharedClock() - began, nil
	})
	p.Ready("")
	<-ctx.Done()
	return ctx.Err()
}
