package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/tests/nap"
	"github.com/limpet-rpc/limpet/worker"
)

// What `hang` measures against: a client hears of a hung call at most so long
// after its budget.
const (
	hangBudget = time.Second
	hangTold   = time.Second
	hangBrood  = 100_000 // goroutines of the handler that makes them
)

// trap is one way for a handler to hang, and the function that its stack must
// name.
type trap struct{ name, method, function string }

func traps() []trap {
	return []trap{
		{"endless loop", "spin", "endless"},
		{"blocked on a channel", "wait", "hangOnChannel"},
		{"sleep() inside C", "nap", "hangInC"},
		{"100,000 goroutines of its own", "breed", "hangAmongMany"},
	}
}

// Hang is one repetition of one of them.
type Hang struct {
	Name    string
	Past    time.Duration // from the end of the budget to the caller's error
	Named   bool          // its stack names the function
	Calls   int           // that a neighbour on the same node made meanwhile
	Slowest time.Duration // of them
	Error   string
	Wrong   bool // it is not ErrWorkerHung
}

// runHang measures how soon a caller hears that its call hangs.
func runHang(ctx context.Context, args []string, out io.Writer) error {
	o := newOptions("hang", 5, out)
	if err := o.parse(args, map[string]string{"repeats": "2"}); err != nil {
		return err
	}
	var all []Hang
	for i := range o.repeats {
		for _, t := range traps() {
			got, err := measureHang(ctx, t, o.verbose)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			all = append(all, got)
			fmt.Fprintf(o.progress, "%d/%d  %-30s heard %.0f ms past the budget\n", i+1, o.repeats, t.name, milliseconds(got.Past))
		}
	}
	return reportHangs(o, all, out)
}

// measureHang has one handler hang on a fresh node, beside a neighbour in the
// same process that calls all the while.
func measureHang(ctx context.Context, t trap, verbose bool) (Hang, error) {
	family := &Family{verbose: verbose}
	defer family.Stop()
	got := Hang{Name: t.name}
	setup := Setup{Sessions: 2}
	broker, err := family.Add(ctx, "limpet-relayed/broker", setup)
	if err != nil {
		return got, err
	}
	if _, err := family.Add(ctx, "hang-node", setup); err != nil {
		return got, err
	}
	c, err := client.Dial(ctx, broker.Endpoint)
	if err != nil {
		return got, err
	}
	defer c.Close()
	sessions, err := openSessions(ctx, c, 2)
	if err != nil {
		return got, err
	}
	beside := Accident{}
	calling := make(chan error, 1)
	stop := make(chan struct{})
	go func() { calling <- beside.neighbour(ctx, sessions[1], stop) }()
	begun := time.Now()
	err = sessions[0].Call(ctx, t.method, int64(0), nil)
	got.Past = time.Since(begun) - hangBudget
	close(stop)
	got.Error, got.Wrong = fmt.Sprint(err), !errors.Is(err, session.ErrWorkerHung)
	if e, ok := errors.AsType[*session.Error](err); ok {
		got.Named = strings.Contains(e.Stack, t.function)
	}
	err = <-calling
	got.Calls, got.Slowest = beside.Calls, beside.Slowest
	return got, err
}

func reportHangs(o *options, all []Hang, out io.Writer) error {
	m := thisMachine()
	fmt.Fprintf(out, "a handler that hangs, budget %v; ms from the end of the budget to its caller's error; %d repetitions\n%v\n\n", hangBudget, o.repeats, m)
	fmt.Fprintf(out, "%-30s %24s %24s %8s\n", "median (min-max)", "caller told", "neighbour's slowest call", "named")
	held, said := true, ""
	for _, t := range traps() {
		var past, slowest []float64
		named := 0
		for _, got := range all {
			if got.Name != t.name {
				continue
			}
			past, slowest = append(past, milliseconds(got.Past)), append(slowest, milliseconds(got.Slowest))
			if got.Named {
				named++
			}
			if got.Wrong || !got.Named || got.Past > hangTold {
				held, said = false, "; "+t.name+": "+got.Error
			}
		}
		fmt.Fprintf(out, "%-30s %24s %24s %8s\n", t.name, spreadOf(past).text(0), spreadOf(slowest).text(1), fmt.Sprintf("%d/%d", named, len(past)))
	}
	fmt.Fprintln(out)
	if err := o.write(struct {
		Machine Machine
		Runs    []Hang
	}{m, all}); err != nil {
		return err
	}
	return o.verdict(out, held, fmt.Sprintf("ErrWorkerHung, with a stack that names the function, within %v past the budget%s", hangTold, said))
}

// hangNodeRole serves handlers that hang, each session on its own thread.
func hangNodeRole(ctx context.Context, p *Process) error {
	pool := worker.NewPool(worker.Config[*int64]{
		Pool: limpetPool, Slots: p.Sessions, Budget: hangBudget, LockThread: true,
		Open: func(context.Context, *worker.Session) (*int64, error) { return new(int64), nil },
	})
	hangs := map[string]func() int64{"spin": endless, "wait": hangOnChannel, "nap": hangInC, "breed": hangAmongMany}
	for method, f := range hangs {
		worker.Handle(pool, method, func(context.Context, *int64, int64) (int64, error) { return f(), nil })
	}
	worker.Handle(pool, "add", func(_ context.Context, total *int64, n int64) (int64, error) { *total += n; return *total, nil })
	p.Ready("")
	return worker.Serve(ctx, worker.Options{Broker: p.At[0], Name: "bench"}, pool)
}

//go:noinline
func hangOnChannel() int64 { return <-make(chan int64) }

//go:noinline
func hangInC() int64 { nap.InC(3600); return 0 }

//go:noinline
func hangAmongMany() int64 {
	never := make(chan int64)
	for range hangBrood {
		go func() { <-never }()
	}
	return <-never
}
