package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/limpet-rpc/limpet/client"
)

// What `many` compares, and its bounds.
const (
	fewSessions    = 100
	manyTenth      = 10        // the first and the last tenth of the opens are compared
	manyNodeBytes  = 6 << 10   // of resident memory on the node, a session
	manyOpensSlow  = 1.3       // how much longer the last tenth may take than the first
	manyCallsSlow  = 1.2       // how much slower calls may be than with fewSessions
	manyCallers    = 64        // goroutines that call, each in sessions of its own in turn
	manyOpenWithin = time.Hour // opening them all: a machine may be slow
	manyReplyWait  = 5 * time.Minute
)

// Many is one repetition of `many`.
type Many struct {
	OpenTenths      []float64 // seconds that each tenth of the opens took
	NodeOpened      float64   // bytes a session on the node, before any call
	NodeCalled      float64   // and after one call in each
	FewRate, Rate   []float64 // calls/s, window by window in turn
	FewCPU, CPU     []PerCall // likewise
	Broker, Clients float64   // bytes a session, after the calls
}

// PerCall is what a call takes of each process, in microseconds of CPU.
type PerCall struct{ Broker, Node, Client float64 }

// runMany opens very many sessions on one node.
func runMany(ctx context.Context, args []string, out io.Writer) error {
	o := newOptions("many", 1, out)
	n := o.set.Int("n", 100_000, "open sessions on one node")
	windows := o.set.Int("windows", 5, "windows of calls, in turn with few and with all sessions")
	window := o.set.Duration("window", 2*time.Second, "length of a window")
	if err := o.parse(args, map[string]string{"n": "5000", "windows": "2", "window": "300ms"}); err != nil {
		return err
	}
	if *n < manyTenth*fewSessions || *windows < 1 {
		return usageError{fmt.Errorf("-n must be at least %d, and -windows 1", manyTenth*fewSessions)}
	}
	var runs []Many
	for range o.repeats {
		m, err := measureMany(ctx, *n, *windows, *window, o.verbose)
		if err != nil {
			return err
		}
		runs = append(runs, m)
	}
	return reportMany(o, *n, runs, out)
}

func measureMany(ctx context.Context, n, windows int, window time.Duration, verbose bool) (m Many, err error) {
	few, err := startMany(ctx, fewSessions, verbose)
	if err != nil {
		return m, err
	}
	defer few.Stop()
	if err := few.client().Ask(ctx, "open", fewSessions, nil, manyReplyWait); err != nil {
		return m, err
	}
	all, err := startMany(ctx, n, verbose)
	if err != nil {
		return m, err
	}
	defer all.Stop()
	before, err := all.weigh(ctx)
	if err != nil {
		return m, err
	}
	for i := range manyTenth {
		var took float64
		if err := all.client().Ask(ctx, "open", n/manyTenth, &took, manyOpenWithin); err != nil {
			return m, fmt.Errorf("open the tenth number %d: %w", i+1, err)
		}
		m.OpenTenths = append(m.OpenTenths, took)
	}
	opened := n / manyTenth * manyTenth
	weighed, err := all.weigh(ctx)
	if err != nil {
		return m, err
	}
	m.NodeOpened = perSession(before[1], weighed[1], opened)
	if err := all.client().Ask(ctx, "each", nil, nil, manyOpenWithin); err != nil {
		return m, err
	}
	if weighed, err = all.weigh(ctx); err != nil {
		return m, err
	}
	m.Broker, m.NodeCalled, m.Clients = perSession(before[0], weighed[0], opened), perSession(before[1], weighed[1], opened), perSession(before[2], weighed[2], opened)
	for range windows {
		for _, w := range []struct {
			of   *manyFamily
			rate *[]float64
			cpu  *[]PerCall
		}{{few, &m.FewRate, &m.FewCPU}, {all, &m.Rate, &m.CPU}} {
			rate, cpu, err := w.of.call(ctx, window)
			if err != nil {
				return m, err
			}
			*w.rate, *w.cpu = append(*w.rate, rate), append(*w.cpu, cpu)
		}
	}
	return m, nil
}

// manyFamily is a broker, a node and a client, in this order.
type manyFamily struct{ *Family }

func startMany(ctx context.Context, n int, verbose bool) (*manyFamily, error) {
	f := &manyFamily{&Family{verbose: verbose}}
	setup := Setup{Sessions: n}
	err := f.AddServers(ctx, limpetRelayed{}, setup)
	if err == nil {
		_, err = f.Add(ctx, "many-client", setup)
	}
	if err != nil {
		f.Stop()
		return nil, err
	}
	return f, nil
}

func (f *manyFamily) client() *Child { return f.Members[2] }

// call has the client call for a window.
func (f *manyFamily) call(ctx context.Context, window time.Duration) (rate float64, each PerCall, err error) {
	before, err := f.used()
	if err != nil {
		return 0, each, err
	}
	if err := f.client().Ask(ctx, "calls", window, &rate, manyReplyWait); err != nil {
		return 0, each, err
	}
	after, err := f.used()
	calls := rate * window.Seconds()
	for i, to := range []*float64{&each.Broker, &each.Node, &each.Client} {
		*to = float64((after[i] - before[i]).Microseconds()) / calls
	}
	return rate, each, err
}

// used is the CPU time of each process so far.
func (f *manyFamily) used() (list [3]time.Duration, err error) {
	for i, c := range f.Members {
		if list[i], err = cpuTime(c.Pid); err != nil {
			return list, err
		}
	}
	return list, nil
}

func (f *manyFamily) weigh(ctx context.Context) ([]Memory, error) {
	list := make([]Memory, len(f.Members))
	for i, c := range f.Members {
		if err := c.Ask(ctx, "memory", nil, &list[i], manyReplyWait); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func perSession(before, after Memory, n int) float64 {
	return float64(after.Settled-before.Settled) / float64(n)
}

func reportMany(o *options, n int, runs []Many, out io.Writer) error {
	m := thisMachine()
	var opened, called, broker, clients, slower, callsSlower, first, last, few, all []float64
	var fewCPU, allCPU []PerCall
	for _, r := range runs {
		opened, called = append(opened, r.NodeOpened), append(called, r.NodeCalled)
		broker, clients = append(broker, r.Broker), append(clients, r.Clients)
		a, z := r.OpenTenths[0], r.OpenTenths[len(r.OpenTenths)-1]
		first, last = append(first, float64(n/manyTenth)/a), append(last, float64(n/manyTenth)/z)
		slower = append(slower, z/a)
		few, all = append(few, r.FewRate...), append(all, r.Rate...)
		fewCPU, allCPU = append(fewCPU, r.FewCPU...), append(allCPU, r.CPU...)
		callsSlower = append(callsSlower, ratios(r.FewRate, r.Rate)...)
	}
	fmt.Fprintf(out, "%d open sessions on one node, no thread lock, relayed, %d openers and callers; %d run(s)\n%v\n\n", n, manyCallers, o.repeats, m)
	for _, line := range []struct {
		what   string
		figure []float64
		digits int
	}{
		{"node, bytes/session, open", opened, 0},
		{"node, bytes/session, after one call in each", called, 0},
		{"broker, bytes/session", broker, 0},
		{"client, bytes/session", clients, 0},
		{"opens/s, first tenth", first, 0},
		{"opens/s, last tenth", last, 0},
		{fmt.Sprintf("calls/s with %d sessions", fewSessions), few, 0},
		{fmt.Sprintf("calls/s with %d sessions", n), all, 0},
	} {
		fmt.Fprintf(out, "%-46s %s\n", line.what, spreadOf(line.figure).text(line.digits))
	}
	for _, p := range []struct {
		what string
		of   func(PerCall) float64
	}{
		{"broker", func(c PerCall) float64 { return c.Broker }},
		{"node", func(c PerCall) float64 { return c.Node }},
		{"client", func(c PerCall) float64 { return c.Client }},
	} {
		fmt.Fprintf(out, "%-46s %s; %s\n", p.what+", CPU us/call, with few and with all", spreadBy(fewCPU, p.of).text(2), spreadBy(allCPU, p.of).text(2))
	}
	fmt.Fprintln(out)
	if err := o.write(struct {
		Machine  Machine
		Sessions int
		Runs     []Many
	}{m, n, runs}); err != nil {
		return err
	}
	within := func(what string, figures []float64, bound float64, digits int) error {
		s := spreadOf(figures)
		return o.verdict(out, s.Median <= bound, fmt.Sprintf("%s: %s, bound at most %.*f", what, s.text(digits), digits, bound))
	}
	return errors.Join(
		within("node, bytes/session, open", opened, manyNodeBytes, 0),
		within("node, bytes/session, after one call in each", called, manyNodeBytes, 0),
		within("the last tenth of the opens ÷ the first", slower, manyOpensSlow, 2),
		within(fmt.Sprintf("calls/s with %d sessions ÷ with all", fewSessions), callsSlower, manyCallsSlow, 2),
	)
}

func spreadBy(all []PerCall, of func(PerCall) float64) Spread {
	figures := make([]float64, len(all))
	for i, c := range all {
		figures[i] = of(c)
	}
	return spreadOf(figures)
}

// manyClientRole opens sessions when it is told to, and calls in all of them.
func manyClientRole(ctx context.Context, p *Process) error {
	c, err := client.Dial(ctx, p.At[0], client.WithRelayOnly())
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
		began := time.Now()
		more, err := openSessions(ctx, c, n)
		took := time.Since(began).Seconds()
		sessions = append(sessions, more...)
		return took, err
	})
	p.Answer("each", func(json.RawMessage) (any, error) { return len(sessions), callEach(ctx, sessions) })
	p.Answer("calls", func(arg json.RawMessage) (any, error) {
		var window time.Duration
		if err := json.Unmarshal(arg, &window); err != nil {
			return nil, err
		}
		return callAll(ctx, sessions, window)
	})
	p.Ready("")
	<-ctx.Done()
	return ctx.Err()
}

// callAll has callers call for the window, each in sessions of its own in turn,
// and returns the rate.
func callAll(ctx context.Context, sessions []*client.Session, window time.Duration) (rate float64, err error) {
	var calls atomic.Int64
	var calling sync.WaitGroup
	errs := make([]error, manyCallers)
	began := time.Now()
	for i := range manyCallers {
		calling.Go(func() {
			body, reply := make([]byte, 64), []byte(nil)
			for k := i; time.Since(began) < window; k += manyCallers {
				if k >= len(sessions) {
					k = i
				}
				if reply, errs[i] = sessions[k].AppendCall(ctx, reply[:0], "echo", body); errs[i] != nil {
					return
				}
				calls.Add(1)
			}
		})
	}
	calling.Wait()
	return float64(calls.Load()) / time.Since(began).Seconds(), errors.Join(errs...)
}
