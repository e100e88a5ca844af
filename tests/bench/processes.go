package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// What `processes` promises on top of a limit, and of a replacement.
const (
	processTold     = time.Second
	processReplaced = 5 * time.Second
	processBudget   = time.Second
)

// accident is one way to lose a worker process, or a session in it.
type accident struct {
	name   string
	method string // that is called; empty: the signal is sent
	signal syscall.Signal
	code   session.Code // of the error that its client must get
	limit  func(beatLimit time.Duration) time.Duration
}

func accidents() []accident {
	silent := func(beatLimit time.Duration) time.Duration { return beatLimit }
	return []accident{
		{"kill -STOP", "", syscall.SIGSTOP, session.ErrWorkerHung, silent},
		{"every processor blocked", "seize", 0, session.ErrWorkerHung, silent},
		{"endless loop, budget 1s", "spin", 0, session.ErrWorkerHung, func(time.Duration) time.Duration { return processBudget }},
		{"10,000 endless goroutines", "bomb", 0, session.ErrWorkerHung, silent},
		{"kill -9", "", syscall.SIGKILL, session.ErrWorkerLost, func(time.Duration) time.Duration { return 0 }},
	}
}

// Accident is one repetition of one of them.
type Accident struct {
	Name      string
	Told      time.Duration // from the accident to the error of the call in flight
	Replaced  time.Duration // to the open of a new session, in the last slot
	Calls     int           // that a neighbour in another process made meanwhile
	Slowest   time.Duration // of them
	Error     string
	WrongCode bool
}

// runProcesses measures how soon a lost worker process is found and replaced.
func runProcesses(ctx context.Context, args []string, out io.Writer) error {
	o := newOptions("processes", 5, out)
	beat := o.set.Duration("beat", defaultBeat, "the nodes' beat")
	misses := o.set.Int("misses", defaultMisses, "missed beats until a process is taken for hung")
	if err := o.parse(args, map[string]string{"repeats": "2", "beat": "200ms"}); err != nil {
		return err
	}
	if *beat <= 0 || *misses < 1 {
		return usageError{errors.New("-beat and -misses must be positive")}
	}
	folder, err := os.MkdirTemp("", "limpet-bench-") // start records that no other broker of this machine takes away
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if err := os.Setenv("TMPDIR", folder); err != nil {
		return err
	}
	var all []Accident
	for i := range o.repeats {
		for _, a := range accidents() {
			got, err := measureAccident(ctx, a, Setup{Sessions: 2, Beat: *beat, Misses: *misses}, o.verbose)
			if err != nil {
				return fmt.Errorf("%s: %w", a.name, err)
			}
			all = append(all, got)
			fmt.Fprintf(o.progress, "%d/%d  %-26s told after %.0f ms, replaced after %.0f ms\n", i+1, o.repeats, a.name, milliseconds(got.Told), milliseconds(got.Replaced))
		}
	}
	return reportProcesses(o, *beat, *misses, all, out)
}

func measureAccident(ctx context.Context, a accident, setup Setup, verbose bool) (Accident, error) {
	family := &Family{verbose: verbose}
	defer family.Stop()
	got := Accident{Name: a.name}
	broker, err := family.Add(ctx, "limpet-relayed/broker", setup)
	if err != nil {
		return got, err
	}
	if _, err := family.Add(ctx, "processes-node", setup); err != nil {
		return got, err
	}
	c, err := client.Dial(ctx, broker.Endpoint)
	if err != nil {
		return got, err
	}
	defer c.Close()
	sessions, err := openSessions(ctx, c, 2) // all slots, one in each process
	if err != nil {
		return got, err
	}
	calling := make(chan error, 1)
	stop := make(chan struct{})
	go func() { calling <- got.neighbour(ctx, sessions[1], stop) }()
	err = got.suffer(ctx, c, sessions[0], a)
	close(stop)
	return got, errors.Join(err, <-calling)
}

// suffer has the accident happen to a session's process.
func (got *Accident) suffer(ctx context.Context, c *client.Client, s *client.Session, a accident) error {
	held := make(chan error, 1)
	method := a.method
	if method == "" {
		method = "hold"
	}
	begun := time.Now()
	go func() { held <- s.Call(ctx, method, int64(0), nil) }()
	if a.signal != 0 {
		if err := sleep(ctx, 100*time.Millisecond); err != nil { // its call runs
			return err
		}
		begun = time.Now()
		if err := syscall.Kill(s.Route().PID, a.signal); err != nil {
			return err
		}
	}
	err := <-held
	got.Told = time.Since(begun)
	got.WrongCode = !errors.Is(err, a.code)
	got.Error = fmt.Sprint(err)
	_, err = openSession(ctx, c)
	got.Replaced = time.Since(begun)
	return err
}

// neighbour calls without a pause until stopped.
func (got *Accident) neighbour(ctx context.Context, s *client.Session, stop chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		begun := time.Now()
		if _, err := client.Call[int64](ctx, s, "add", int64(1)); err != nil {
			return fmt.Errorf("a neighbour's call: %w", err)
		}
		got.Calls++
		got.Slowest = max(got.Slowest, time.Since(begun))
	}
}

func reportProcesses(o *options, beat time.Duration, misses int, all []Accident, out io.Writer) error {
	m := thisMachine()
	limit := beat * time.Duration(misses)
	fmt.Fprintf(out, "one session a worker process, beat %v, %d misses; ms since the accident; %d repetitions\n%v\n\n", beat, misses, o.repeats, m)
	fmt.Fprintf(out, "%-26s %24s %24s %24s\n", "median (min-max)", "client told", "replacement open", "neighbour's slowest call")
	held, said := true, ""
	for _, a := range accidents() {
		var told, replaced, slowest []float64
		for _, got := range all {
			if got.Name != a.name {
				continue
			}
			told, replaced, slowest = append(told, milliseconds(got.Told)), append(replaced, milliseconds(got.Replaced)), append(slowest, milliseconds(got.Slowest))
			if got.WrongCode || got.Told > a.limit(limit)+processTold || got.Replaced > a.limit(limit)+processReplaced {
				held, said = false, a.name+": "+got.Error
			}
		}
		fmt.Fprintf(out, "%-26s %24s %24s %24s\n", a.name, spreadOf(told).text(0), spreadOf(replaced).text(0), spreadOf(slowest).text(1))
	}
	fmt.Fprintln(out)
	if err := o.write(struct {
		Machine Machine
		Beat    time.Duration
		Misses  int
		Runs    []Accident
	}{m, beat, misses, all}); err != nil {
		return err
	}
	return o.verdict(out, held, fmt.Sprintf("typed error within the limit (%v, budget %v) + %v, replacement within %v more %s", limit, processBudget, processTold, processReplaced, said))
}

// processesNodeRole is a program whose slots are in worker processes, one in
// each.
func processesNodeRole(ctx context.Context, p *Process) error {
	pool := worker.NewPool(worker.Config[*int64]{
		Pool: limpetPool, Slots: p.Sessions, Budget: processBudget,
		Open: func(context.Context, *worker.Session) (*int64, error) { return new(int64), nil },
	})
	worker.Handle(pool, "add", func(_ context.Context, total *int64, n int64) (int64, error) { *total += n; return *total, nil })
	worker.Handle(pool, "hold", func(ctx context.Context, _ *int64, _ int64) (int64, error) { <-ctx.Done(); return 0, ctx.Err() })
	pool.Budget("hold", -1)
	worker.Handle(pool, "seize", func(context.Context, *int64, int64) (int64, error) { return 0, seize() })
	pool.Budget("seize", -1)
	worker.Handle(pool, "spin", func(context.Context, *int64, int64) (int64, error) { return endless(), nil })
	worker.Handle(pool, "bomb", func(context.Context, *int64, int64) (int64, error) {
		for range 10_000 {
			go endless()
		}
		return endless(), nil
	})
	p.Ready("")
	return worker.Serve(ctx, worker.Options{Broker: p.At[0], Name: "bench", Beat: p.Beat, Misses: p.Misses, SlotsPerProcess: 1}, pool)
}

// seize blocks every processor of Go's scheduler in a system call that it does
// not know of.
func seize() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer w.Close()
	block := func() {
		var b byte
		_, _, _ = syscall.RawSyscall(syscall.SYS_READ, r.Fd(), uintptr(unsafe.Pointer(&b)), 1)
	}
	for range runtime.GOMAXPROCS(0) {
		go block()
	}
	block()
	return nil
}

// endless never ends.
//
//go:noinline
func endless() (n int64) {
	for n >= 0 {
		n ^= 1
	}
	return n
}
