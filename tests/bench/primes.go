package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/client/front"
	"github.com/limpet-rpc/limpet/worker"
)

// The bounds of `primes`.
const (
	primesRatio    = 0.5                   // requests a second, against net/http alone
	primesLate     = 50 * time.Millisecond // a 504 past its deadline, the median
	primesShort    = 3                     // p99 of short jobs beside long ones, against an idle system
	primesWorkers  = 8
	primesTo       = 999_999
	primesFound    = 78_497 // among the odd numbers from 3 on
	primesDeadline = 200 * time.Millisecond
)

// Jobs of `primes`: a step takes its time without the processor, as one does that
// waits for a disk; a long one takes many steps through a cycle.
const (
	jobStep  = 10 * time.Millisecond
	jobSteps = 20
	jobsLong = 64 // at once
)

// Primes is one repetition.
type Primes struct {
	Alone, Front WebLoad
	Late         []time.Duration // of each 504
	Idle, Beside time.Duration   // p99 of short jobs
	Long         int64           // long jobs that were done meanwhile
}

// runPrimes measures the HTTP front beside net/http alone.
func runPrimes(ctx context.Context, args []string, out io.Writer) error {
	o := newOptions("primes", 3, out)
	to := o.set.Uint64("to", primesTo, "the odd numbers from 3 up to this one, each a request")
	connections := o.set.Int("connections", 16*primesWorkers, "kept alive, a request at a time on each")
	shorts := o.set.Int("shorts", 500, "short jobs whose p99 is taken")
	if err := o.parse(args, map[string]string{"repeats": "1", "to": "99999", "shorts": "200"}); err != nil {
		return err
	}
	if *to < 3 || *connections < 1 || *shorts < 1 {
		return usageError{errors.New("-to must be at least 3, -connections and -shorts positive")}
	}
	var all []Primes
	for i := range o.repeats {
		got, err := measurePrimes(ctx, WebOrder{From: 3, To: *to, Connections: *connections}, *shorts, i%2 == 1, o.verbose)
		if err != nil {
			return err
		}
		all = append(all, got)
		fmt.Fprintf(o.progress, "%d/%d  net/http %.0f/s, front %.0f/s\n", i+1, o.repeats, got.Alone.rate(), got.Front.rate())
	}
	return reportPrimes(o, *to, *connections, all, out)
}

// measurePrimes runs both in turn, the front first where swapped.
func measurePrimes(ctx context.Context, order WebOrder, shorts int, swapped, verbose bool) (Primes, error) {
	var got Primes
	alone := func() error { return got.alone(ctx, order, verbose) }
	behind := func() error { return got.front(ctx, order, shorts, verbose) }
	if swapped {
		alone, behind = behind, alone
	}
	return got, cmp.Or(alone(), behind())
}

func (got *Primes) alone(ctx context.Context, order WebOrder, verbose bool) (err error) {
	family := &Family{verbose: verbose}
	defer family.Stop()
	server, err := family.Add(ctx, "primes-alone", Setup{})
	if err == nil {
		got.Alone, err = order.at(ctx, family, server.Endpoint)
	}
	return err
}

// primesSite is the front with its broker and so many worker processes.
func primesSite(ctx context.Context, workers int, verbose bool) (*Family, *Child, error) {
	family := &Family{verbose: verbose}
	roles := []string{"limpet-relayed/broker"}
	for range workers {
		roles = append(roles, "primes-node")
	}
	for _, role := range append(roles, "primes-front") {
		setup := Setup{Sessions: 1}
		if role == "primes-front" {
			setup.Sessions = workers
		}
		child, err := family.Add(ctx, role, setup)
		if err != nil {
			family.Stop()
			return nil, nil, err
		}
		if role == "primes-front" {
			return family, child, nil
		}
	}
	panic("unreachable")
}

func (got *Primes) front(ctx context.Context, order WebOrder, shorts int, verbose bool) error {
	family, server, err := primesSite(ctx, primesWorkers, verbose)
	if err != nil {
		return err
	}
	defer family.Stop()
	if got.Front, err = order.at(ctx, family, server.Endpoint); err != nil {
		return err
	}
	if err := got.late(ctx, server.Endpoint); err != nil {
		return err
	}
	if got.Idle, err = shortJobs(ctx, server.Endpoint, shorts); err != nil {
		return err
	}
	return got.beside(ctx, server.Endpoint, shorts)
}

// late asks for what nobody serves, eight at a time.
func (got *Primes) late(ctx context.Context, url string) error {
	var mu sync.Mutex
	return atOnce(8, func() error {
		for range 8 {
			status, _, took, err := webAsk(ctx, url+"/nobody")
			if err != nil {
				return err
			}
			if status != http.StatusGatewayTimeout || took < primesDeadline {
				return fmt.Errorf("what nobody serves was answered by %d after %v, its deadline is %v", status, took, primesDeadline)
			}
			mu.Lock()
			got.Late = append(got.Late, took-primesDeadline)
			mu.Unlock()
		}
		return nil
	})
}

// shortJobs makes jobs of one step one after the other.
func shortJobs(ctx context.Context, url string, n int) (p99 time.Duration, err error) {
	var h histogram
	for range n {
		status, body, took, err := webAsk(ctx, url+"/job?steps=1")
		if err != nil {
			return 0, err
		}
		if status != http.StatusOK {
			return 0, fmt.Errorf("a short job: %d %s", status, body)
		}
		h.Add(took)
	}
	return h.Quantile(0.99), nil
}

// beside does so while long jobs go round.
func (got *Primes) beside(ctx context.Context, url string, shorts int) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var long atomic.Int64
	running := make(chan error, 1)
	begun := make(chan struct{})
	once := sync.OnceFunc(func() { close(begun) })
	go func() {
		running <- atOnce(jobsLong, func() error {
			for {
				status, body, _, err := webAsk(ctx, url+"/job?steps="+strconv.Itoa(jobSteps))
				switch {
				case ctx.Err() != nil:
					return nil //nolint:nilerr // it was told to end
				case err != nil || status != http.StatusOK:
					return fmt.Errorf("a long job: %d %s %w", status, body, err)
				}
				if long.Add(1) >= jobsLong {
					once()
				}
			}
		})
	}()
	select {
	case <-begun: // each has been round once
	case err := <-running:
		return err
	}
	var err error
	got.Beside, err = shortJobs(ctx, url, shorts)
	got.Long = long.Load()
	cancel()
	return errors.Join(err, <-running)
}

// atOnce runs n of a kind and returns their errors.
func atOnce(n int, f func() error) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = f() })
	}
	all.Wait()
	return errors.Join(errs...)
}

func reportPrimes(o *options, to uint64, connections int, all []Primes, out io.Writer) error {
	m := thisMachine()
	fmt.Fprintf(out, "odd numbers 3 to %d, each a request, %d connections kept alive, %d worker processes; %d interleaved repetitions\n%v\n\n",
		to, connections, primesWorkers, o.repeats, m)
	var alone, behind, late, idle, beside, ratio, worse []float64
	held, said := true, ""
	for _, got := range all {
		alone, behind = append(alone, got.Alone.rate()), append(behind, got.Front.rate())
		ratio = append(ratio, got.Front.rate()/got.Alone.rate())
		for _, d := range got.Late {
			late = append(late, milliseconds(d))
		}
		idle, beside = append(idle, milliseconds(got.Idle)), append(beside, milliseconds(got.Beside))
		worse = append(worse, float64(got.Beside)/float64(got.Idle))
		if got.Alone.Found != got.Front.Found || to == primesTo && got.Front.Found != primesFound {
			held, said = false, fmt.Sprintf("; found %d primes, net/http alone %d", got.Front.Found, got.Alone.Found)
		}
	}
	fmt.Fprintf(out, "%-58s %s\n", "", "median (min-max)")
	for _, row := range []struct {
		what   string
		values []float64
		digits int
	}{
		{"net/http alone, requests/s", alone, 0},
		{"limpet http and 8 worker processes, requests/s", behind, 0},
		{"÷ net/http alone", ratio, 2},
		{"504 past its deadline of 200 ms, nobody serves: ms", late, 1},
		{fmt.Sprintf("p99 of jobs of one step (%v), idle: ms", jobStep), idle, 1},
		{fmt.Sprintf("beside %d jobs of %d steps each: ms", jobsLong, jobSteps), beside, 1},
		{"÷ idle", worse, 2},
	} {
		fmt.Fprintf(out, "%-58s %s\n", row.what, spreadOf(row.values).text(row.digits))
	}
	fmt.Fprintf(out, "%d primes found by both\n\n", all[0].Front.Found)
	if err := o.write(struct {
		Machine Machine
		Runs    []Primes
	}{m, all}); err != nil {
		return err
	}
	r, l, w := spreadOf(ratio).Median, spreadOf(late).Median, spreadOf(worse).Median
	held = held && r >= primesRatio && l <= milliseconds(primesLate) && w <= primesShort
	return o.verdict(out, held, fmt.Sprintf("front ÷ net/http alone %.2f, at least %.1f; 504 %.1f ms late, at most %v; short jobs' p99 ÷ idle %.2f, at most %d%s",
		r, primesRatio, l, primesLate, w, primesShort, said))
}

// prime is the work of a request.
func prime(text []byte) ([]byte, error) {
	n, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil || !new(big.Int).SetUint64(n).ProbablyPrime(0) {
		return []byte("0"), err
	}
	return text, nil
}

// primesAloneRole serves it by net/http and nothing else.
func primesAloneRole(ctx context.Context, p *Process) error {
	return serveWeb(ctx, p, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, err := prime([]byte(r.URL.Query().Get("possible_prime")))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write(answer) // who has gone reads nothing
	}))
}

func serveWeb(ctx context.Context, p *Process, h http.Handler) error {
	s := httptest.NewServer(h) // a free port, and no more than net/http
	defer s.Close()
	p.Ready(s.URL)
	<-ctx.Done()
	return nil
}

// primesNodeRole is one worker process.
func primesNodeRole(ctx context.Context, p *Process) error {
	pool := worker.NewPool(worker.Config[struct{}]{Pool: "primes", Slots: p.Sessions})
	worker.Handle(pool, "is_prime", func(_ context.Context, _ struct{}, text []byte) ([]byte, error) { return prime(text) })
	worker.Handle(pool, "job", func(ctx context.Context, _ struct{}, text []byte) ([]byte, error) {
		steps, err := strconv.Atoi(string(text))
		if err == nil {
			err = sleep(ctx, jobStep)
		}
		if err != nil || steps <= 1 {
			return text, err
		}
		return nil, worker.Next("primes", "job", strconv.AppendInt(nil, int64(steps-1), 10))
	})
	p.Ready("")
	return worker.Serve(ctx, worker.Options{Broker: p.At[0], Logger: slog.New(slog.DiscardHandler)}, pool)
}

const primesRoutes = `
[[route]]
path       = "GET /is_prime"
pool       = "primes"
method     = "is_prime"
argument   = "param possible_prime"
type       = "text/plain"
keep       = 8
ahead      = 16
idempotent = true

[[route]]
path       = "GET /job"
pool       = "primes"
method     = "job"
argument   = "param steps"

[[route]]
path       = "GET /nobody"
pool       = "nobody"
method     = "serves"
deadline   = "200ms"
`

// primesFrontRole is limpet http. It is ready once all workers are.
func primesFrontRole(ctx context.Context, p *Process) error {
	quiet := slog.New(slog.DiscardHandler)
	c, err := client.Dial(ctx, p.At[0], client.WithLogger(quiet))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := allWorkers(ctx, c, p.Sessions); err != nil {
		return err
	}
	routes, err := front.ParseRoutes([]byte(primesRoutes))
	if err != nil {
		return err
	}
	f, err := front.New(c, routes, quiet)
	if err != nil {
		return err
	}
	return serveWeb(ctx, p, f)
}

// allWorkers waits until there are as many as there should be: it has a session
// with each at once.
func allWorkers(ctx context.Context, c *client.Client, workers int) error {
	ctx, cancel := context.WithTimeout(ctx, nodeWait)
	defer cancel()
	return atOnce(workers, func() error {
		s, err := c.Open(ctx, "primes", client.WithLatePools())
		if err != nil {
			return err
		}
		return s.Close(ctx)
	})
}

// primesLoadRole makes the requests.
func primesLoadRole(ctx context.Context, p *Process) error {
	p.Answer("load", func(arg json.RawMessage) (any, error) {
		var order WebOrder
		if err := json.Unmarshal(arg, &order); err != nil {
			return nil, err
		}
		return order.run()
	})
	p.Ready("")
	<-ctx.Done()
	return nil
}

// The bound of `primes-soak`: resident memory at the end against that after the
// first of the requests.
const (
	soakGrowth = 1.1
	soakFirst  = 12 // one in so many
)

// PrimesSoak is the memory of one process.
type PrimesSoak struct {
	Process     string
	First, Last Memory
}

// runPrimesSoak makes many requests and looks at what the processes hold.
func runPrimesSoak(ctx context.Context, args []string, out io.Writer) error {
	o := newOptions("primes-soak", 1, out)
	requests := o.set.Uint64("requests", 600_000, "on connections that are kept alive")
	connections := o.set.Int("connections", 16*primesWorkers, "kept alive, a request at a time on each")
	if err := o.parse(args, map[string]string{"requests": "60000"}); err != nil {
		return err
	}
	if *requests < soakFirst || *connections < 1 {
		return usageError{fmt.Errorf("-requests must be at least %d, -connections positive", soakFirst)}
	}
	family, server, err := primesSite(ctx, primesWorkers, o.verbose)
	if err != nil {
		return err
	}
	defer family.Stop()
	load, err := family.Add(ctx, "primes-load", Setup{})
	if err != nil {
		return err
	}
	watched := []*Child{family.Members[0], family.Members[1], server}
	soaks := []PrimesSoak{{Process: "broker"}, {Process: "a worker"}, {Process: "front"}}
	look := func(of func(*PrimesSoak) *Memory) error {
		for i, child := range watched {
			if err := child.Ask(ctx, "memory", nil, of(&soaks[i]), readyWait); err != nil {
				return err
			}
		}
		return nil
	}
	order := WebOrder{URL: server.Endpoint, From: 3, To: 2 * (*requests) / soakFirst, Connections: *connections}
	var first, rest WebLoad
	err = load.Ask(ctx, "load", order, &first, loadWait)
	if err == nil {
		err = look(func(s *PrimesSoak) *Memory { return &s.First })
	}
	if err == nil {
		order.From, order.To = order.To+1, 2*(*requests)
		err = load.Ask(ctx, "load", order, &rest, loadWait)
	}
	if err == nil {
		err = look(func(s *PrimesSoak) *Memory { return &s.Last })
	}
	if err != nil {
		return err
	}
	return reportPrimesSoak(o, first, rest, soaks, out)
}

func reportPrimesSoak(o *options, first, rest WebLoad, soaks []PrimesSoak, out io.Writer) error {
	m := thisMachine()
	fmt.Fprintf(out, "%d requests on connections that are kept alive, then %d more; KiB of resident memory after forced collections\n%v\n\n",
		first.Requests, rest.Requests, m)
	fmt.Fprintf(out, "%-12s %12s %12s %10s\n", "", "after first", "at the end", "growth")
	worst := 0.0
	for _, s := range soaks {
		growth := float64(s.Last.Settled) / float64(s.First.Settled)
		worst = max(worst, growth)
		fmt.Fprintf(out, "%-12s %12d %12d %10.3f\n", s.Process, s.First.Settled>>10, s.Last.Settled>>10, growth)
	}
	fmt.Fprintln(out)
	if err := o.write(struct {
		Machine     Machine
		First, Rest WebLoad
		Processes   []PrimesSoak
	}{m, first, rest, soaks}); err != nil {
		return err
	}
	return o.verdict(out, worst <= soakGrowth, fmt.Sprintf("resident memory grows by a factor of %.3f at most, bound %.1f", worst, soakGrowth))
}
