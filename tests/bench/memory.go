package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/limpet-rpc/limpet/client"
)

// Bounds of `memory`, bytes of resident memory a session.
const (
	nodeSessionBytes   = 8 << 10
	brokerSessionBytes = 1 << 10
)

// SessionMemory is what an open idle session holds in one process, in bytes.
type SessionMemory struct {
	Process       string
	Before, After Memory
	PerSession    float64 // settled
	RawPerSession float64 // without the forced collections
}

// runMemory opens n sessions, makes one call in each, and looks at what they
// leave resident in each process.
func runMemory(ctx context.Context, args []string, out io.Writer) error {
	o := newOptions("memory", 1, out)
	n := o.set.Int("n", 10_000, "open idle sessions")
	idle := o.set.Duration("idle", 2*time.Second, "idle time before the second look")
	if err := o.parse(args, map[string]string{"n": "2000"}); err != nil {
		return err
	}
	if *n < 1 {
		return usageError{fmt.Errorf("-n must be positive, not %d", *n)}
	}
	var runs [][]SessionMemory
	for range o.repeats {
		processes, err := measureMemory(ctx, *n, *idle, o.verbose)
		if err != nil {
			return err
		}
		runs = append(runs, processes)
	}
	return reportMemory(o, *n, runs, out)
}

// measureMemory looks first after one session has come and gone, so that what a
// process allocates once is not charged to the sessions.
func measureMemory(ctx context.Context, n int, idle time.Duration, verbose bool) ([]SessionMemory, error) {
	family := &Family{verbose: verbose}
	defer family.Stop()
	setup := Setup{Sessions: n}
	if err := family.AddServers(ctx, limpetRelayed{}, setup); err != nil {
		return nil, err
	}
	opener, err := family.Add(ctx, "memory-client", setup)
	if err != nil {
		return nil, err
	}
	names := []string{"broker", "node", "client"}
	processes := make([]SessionMemory, len(names))
	for i, c := range family.Members {
		processes[i].Process = names[i]
		if err := c.Ask(ctx, "memory", nil, &processes[i].Before, readyWait); err != nil {
			return nil, err
		}
	}
	if err := opener.Ask(ctx, "open", n, nil, 5*time.Minute); err != nil {
		return nil, err
	}
	if err := sleep(ctx, idle); err != nil {
		return nil, err
	}
	for i, c := range family.Members {
		p := &processes[i]
		if err := c.Ask(ctx, "memory", nil, &p.After, readyWait); err != nil {
			return nil, err
		}
		p.PerSession = float64(p.After.Settled-p.Before.Settled) / float64(n)
		p.RawPerSession = float64(p.After.Raw-p.Before.Settled) / float64(n)
	}
	// Proof that what was weighed was alive: every session answers once more.
	return processes, opener.Ask(ctx, "call", nil, nil, 5*time.Minute)
}

func reportMemory(o *options, n int, runs [][]SessionMemory, out io.Writer) error {
	m := thisMachine()
	fmt.Fprintf(out, "%d open idle sessions on one node, no thread lock, each after one call; resident memory a session; %d run(s)\n%v\n\n", n, o.repeats, m)
	fmt.Fprintf(out, "%-8s %28s %18s %28s %6s\n", "process", "bytes/session, after GC", "without GC", "MiB before, after (GC)", "GOGC")
	settled := map[string]Spread{}
	for i, p := range runs[0] {
		var after, raw []float64
		for _, run := range runs {
			after, raw = append(after, run[i].PerSession), append(raw, run[i].RawPerSession)
		}
		settled[p.Process] = spreadOf(after)
		fmt.Fprintf(out, "%-8s %28s %18.0f %28s %6d\n", p.Process, spreadOf(after).text(0), spreadOf(raw).Median,
			fmt.Sprintf("%.1f, %.1f", float64(p.Before.Settled)/(1<<20), float64(p.After.Settled)/(1<<20)), p.After.GOGC)
	}
	fmt.Fprintln(out)
	if err := o.write(struct {
		Machine  Machine
		Sessions int
		Runs     [][]SessionMemory
	}{m, n, runs}); err != nil {
		return err
	}
	within := func(process string, bound float64) error {
		got := settled[process].Median
		return o.verdict(out, got <= bound, fmt.Sprintf("%s: %.0f bytes a session, bound %.0f", process, got, bound))
	}
	return errors.Join(within("node", nodeSessionBytes), within("broker", brokerSessionBytes))
}

// memoryClientRole opens the sessions and keeps them.
func memoryClientRole(ctx context.Context, p *Process) error {
	c, err := client.Dial(ctx, p.At[0])
	if err != nil {
		return err
	}
	if err := comeAndGo(ctx, c); err != nil {
		return err
	}
	var sessions []*client.Session
	p.Answer("open", func(arg json.RawMessage) (any, error) {
		var n int
		if err := json.Unmarshal(arg, &n); err != nil {
			return nil, err
		}
		var err error
		if sessions, err = openSessions(ctx, c, n); err != nil {
			return nil, err
		}
		return n, callEach(ctx, sessions)
	})
	p.Answer("call", func(json.RawMessage) (any, error) { return len(sessions), callEach(ctx, sessions) })
	p.Ready("")
	<-ctx.Done()
	return ctx.Err()
}

// comeAndGo opens a session, calls and closes it.
func comeAndGo(ctx context.Context, c *client.Client) error {
	s, err := openSession(ctx, c)
	if err != nil {
		return err
	}
	if err := callEach(ctx, []*client.Session{s}); err != nil {
		return err
	}
	return s.Close(ctx)
}

// callEach makes one echo in every session, one after the other.
func callEach(ctx context.Context, sessions []*client.Session) error {
	body := make([]byte, 64)
	for i, s := range sessions {
		reply, err := client.Call[[]byte](ctx, s, "echo", body)
		if err != nil {
			return fmt.Errorf("session %d: %w", i, err)
		}
		if len(reply) != len(body) {
			return fmt.Errorf("session %d: reply of %d bytes", i, len(reply))
		}
	}
	return nil
}
