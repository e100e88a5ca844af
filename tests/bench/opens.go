package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// limpetOpens is Limpet relayed with a fresh session for every call: open,
// call and close as three trips.
type limpetOpens struct{}

func (limpetOpens) Name() string { return "limpet-open-call-close" }

func (limpetOpens) Servers() []Server { return roomyServers() }

// roomyServers are Limpet's with two slots for each caller: a session's Close
// still runs when its client has its answer and opens the next.
func roomyServers() []Server {
	return []Server{{"broker", limpetBrokerRole}, {"node", func(ctx context.Context, p *Process) error {
		p.Sessions *= 2
		return bareNodeRole(ctx, p)
	}}}
}

// bareNodeRole serves a pool that has nothing to open and nothing to close, as
// one does whose sessions are single calls.
func bareNodeRole(ctx context.Context, p *Process) error {
	pool := worker.NewPool(worker.Config[struct{}]{Pool: limpetPool, Slots: p.Sessions})
	worker.Handle(pool, "echo", echo)
	p.Ready("")
	return worker.Serve(ctx, worker.Options{Broker: p.At[0], Name: "bench", Beat: p.Beat, Misses: p.Misses}, pool)
}

// Dial makes callers that open a session for each of their calls.
func (limpetOpens) Dial(ctx context.Context, p *Process) ([]Caller, error) {
	return freshCallers(ctx, p, func(ctx context.Context, c *client.Client, body []byte) ([]byte, error) {
		s, err := c.Open(ctx, limpetPool)
		if err != nil {
			return nil, err
		}
		reply, err := client.Call[[]byte](ctx, s, "echo", body)
		if err != nil {
			return nil, err
		}
		return reply, s.Close(ctx)
	})
}

// limpetOnce is the same in one trip: the call is carried by the open, and the
// session ends with it.
type limpetOnce struct{}

func (limpetOnce) Name() string { return "limpet-once" }

func (limpetOnce) Servers() []Server { return roomyServers() }

// Dial makes callers whose calls are sessions of their own.
func (limpetOnce) Dial(ctx context.Context, p *Process) ([]Caller, error) {
	return freshCallers(ctx, p, func(ctx context.Context, c *client.Client, body []byte) ([]byte, error) {
		return client.Do[[]byte](ctx, c, limpetPool, "echo", body)
	})
}

// freshCallers makes callers over one client that keep no session, once the
// node is there.
func freshCallers(ctx context.Context, p *Process, call func(context.Context, *client.Client, []byte) ([]byte, error)) ([]Caller, error) {
	c, err := client.Dial(ctx, p.At[0], client.WithRelayOnly())
	if err != nil {
		return nil, err
	}
	s, err := openSession(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := s.Close(ctx); err != nil {
		return nil, err
	}
	callers := make([]Caller, p.Sessions)
	for i := range callers {
		callers[i] = func(ctx context.Context, body []byte) ([]byte, error) { return call(ctx, c, body) }
	}
	return callers, nil
}

// The bounds of `opens`: the rate of three trips against that of plain calls,
// and that of one trip against three.
const (
	opensRatio = 0.2
	onceRatio  = 1.6
	opensAt    = 64
)

// runOpens compares plain calls with sessions of one call.
func runOpens(ctx context.Context, args []string, out io.Writer) error {
	o := newOptions("opens", 5, out)
	c := Comparison{Callers: counts{opensAt}, Size: 64, Peers: []string{limpetRelayed{}.Name(), limpetOpens{}.Name(), limpetOnce{}.Name()}}
	o.set.DurationVar(&c.WarmUp, "warmup", time.Second, "load before each window")
	o.set.DurationVar(&c.Window, "window", 3*time.Second, "what is measured of each run")
	if err := o.parse(args, map[string]string{"repeats": "3", "warmup": "300ms", "window": "1s"}); err != nil {
		return err
	}
	c.Repeats, c.verbose = o.repeats, o.verbose
	if err := c.measure(ctx, o.progress); err != nil {
		return err
	}
	m := thisMachine()
	fmt.Fprintf(out, "sessions of one call beside plain calls, %d clients' goroutines, relayed; medians (least-greatest) of %d interleaved runs of %v after %v\n%v\n\n",
		opensAt, c.Repeats, c.Window, c.WarmUp, m)
	if err := c.print(out); err != nil {
		return err
	}
	if err := o.write(struct {
		Machine Machine
		*Comparison
	}{m, &c}); err != nil {
		return err
	}
	three := c.Ratio(limpetOpens{}.Name(), opensAt, Run.rate)
	one := c.Ratio(limpetOnce{}.Name(), opensAt, Run.rate)
	oneToThree := one.Median / three.Median
	fmt.Fprintln(out)
	return o.verdict(out, three.Median >= opensRatio && oneToThree >= onceRatio,
		fmt.Sprintf("open + call + close ÷ plain calls: %s, bound at least %.1f; one trip ÷ three: %.2f, bound at least %.1f",
			three.text(2), opensRatio, oneToThree, onceRatio))
}
