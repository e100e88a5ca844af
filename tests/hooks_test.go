package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/limpet-rpc/limpet/assigner"
	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// thirds are hooks that make three parts of each item, and another text of the
// thirtieth result of a job.
func thirds(pool string) *worker.Hooks[*int] {
	h := worker.NewHooks(worker.Config[*int]{
		Pool: pool,
		Open: func(context.Context, *worker.Session) (*int, error) { return new(int), nil },
	})
	worker.OnScatter(h, func(_ context.Context, _ *int, text string, emit func(string) error) error {
		for range 3 {
			if err := emit(text); err != nil {
				return err
			}
		}
		return nil
	})
	worker.OnGather(h, func(_ context.Context, seen *int, r worker.Result[string], emit func(string) error) error {
		if *seen++; *seen == 30 {
			return emit("final message")
		}
		return emit(r.Value)
	})
	return h
}

// hooksRole serves those, beside nothing else.
func hooksRole(ctx context.Context) error {
	o := worker.Options{Broker: os.Getenv("BROKER"), Name: "hooks", Beat: millis("BEAT"), Misses: setting("MISSES"), Logger: quiet()}
	return worker.Serve(ctx, o, thirds("jobs"))
}

// Ten messages, three parts each, two workers: thirty results, fifteen of each,
// but for the thirtieth, which the gather hook makes; also for a second client,
// whose job has a state of its own.
func TestHooks(t *testing.T) {
	c := newCell(t, broker.Options{Policy: assigner.RoundRobin})
	ran := [2]atomic.Int64{}
	for i := range ran {
		p := worker.NewPool(worker.Config[struct{}]{Pool: "jobs", Slots: 30})
		worker.Handle(p, "name", func(_ context.Context, _ struct{}, text string) (string, error) {
			ran[i].Add(1)
			return fmt.Sprintf("worker%d %s", i+1, text), nil
		})
		served := []worker.Served{p}
		if i == 0 {
			served = append(served, thirds("jobs"))
		}
		c.serve(t, worker.Options{}, served...)
	}
	messages := slices.Values(slices.Repeat([]string{"a message"}, 10))
	job := func(cl *client.Client, opts ...client.JobOption) {
		var all []string
		for item := range client.Job[string](t.Context(), cl, "jobs", "name", messages, append(opts, client.JobHooks())...) {
			if item.Err != nil || item.Arg != "a message" || item.Part > 2 || item.Index > 9 {
				t.Errorf("%+v", item)
			}
			if len(opts) > 0 && len(all) != item.Index*3+item.Part {
				t.Errorf("result %d is part %d of item %d", len(all), item.Part, item.Index)
			}
			all = append(all, item.Result)
		}
		if len(all) != 30 || all[29] != "final message" || slices.Contains(all[:29], "final message") {
			t.Errorf("%d results: %q", len(all), all)
		}
	}
	each := func(want int64) {
		t.Helper()
		if one, two := ran[0].Swap(0), ran[1].Swap(0); one != want || two != want {
			t.Errorf("%d and %d calls, want %d of each", one, two, want)
		}
	}
	first, second := c.dial(t), c.dial(t)
	job(first)
	each(15)
	job(second, client.JobOrdered())
	each(15)
	var both sync.WaitGroup
	both.Go(func() { job(first, client.JobOrdered()) })
	both.Go(func() { job(second) })
	both.Wait()
	each(30)
}

// fickle are hooks that do with an item what its text says.
func fickle(emitted *atomic.Int64) *worker.Hooks[*strings.Builder] {
	h := worker.NewHooks(worker.Config[*strings.Builder]{
		Pool: "jobs",
		Open: func(context.Context, *worker.Session) (*strings.Builder, error) { return new(strings.Builder), nil },
	})
	worker.OnScatter(h, func(_ context.Context, _ *strings.Builder, text string, emit func(string) error) error {
		n := map[string]int{"nothing": 0, "break": 2, "million": 1_000_000}
		parts, ok := n[text]
		if !ok {
			parts = 1
		}
		for i := range parts {
			emitted.Add(1)
			if err := emit(fmt.Sprint(text, " ", i)); err != nil {
				return err
			}
		}
		if text == "break" {
			return errors.New("broken off")
		}
		return nil
	})
	worker.OnGather(h, func(_ context.Context, all *strings.Builder, r worker.Result[string], emit func(string) error) error {
		all.WriteString(r.Value + ";")
		switch {
		case strings.Contains(r.Value, "drop"):
			return nil
		case strings.Contains(r.Value, "twice"):
			return errors.Join(emit(r.Value), emit(r.Value+" again"))
		case strings.Contains(r.Value, "refuse"):
			return errors.New("not gathered")
		case strings.Contains(r.Value, "explode"):
			panic("in the gather hook")
		}
		return emit(r.Value)
	})
	worker.OnEnd(h, func(_ context.Context, all *strings.Builder, emit func(string) error) error {
		return emit(all.String())
	})
	return h
}

// What hooks may do with items and results: none, several, errors, something
// more at the end; and an error of a call goes by them.
func TestHooksChangeResults(t *testing.T) {
	c := newCell(t, broker.Options{})
	var emitted atomic.Int64
	c.serve(t, worker.Options{}, jobber("w", "jobs", 4), fickle(&emitted))
	cl := c.dial(t)
	var tally client.JobTally
	var got []string
	items := []string{"nothing", "plain", "drop", "twice", "break", "refuse"}
	for item := range client.Job[string](t.Context(), cl, "jobs", "name", slices.Values(items), client.JobHooks(), client.JobOrdered(), client.JobCount(&tally)) {
		if item.Err != nil && (!errors.Is(item.Err, client.ErrMethod) || item.Outcome() != session.Done) {
			t.Errorf("%+v", item)
		}
		got = append(got, fmt.Sprint(item.Index, ".", item.Part, " ", item.Result, item.Err != nil))
	}
	want := []string{
		"1.0 w plain 0false", "3.0 w twice 0false", "3.0 w twice 0 againfalse", "4.0 w break 0false", "4.1 w break 1false", "4.2 true", "5.0 true",
		"-1.0 w plain 0;w drop 0;w twice 0;w break 0;w break 1;w refuse 0;false",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if n := tally.Counts(); n.Taken != 6 || n.Made != 7 || n.Done != 6 || n.Failed != 1 || n.Dropped != 1 {
		t.Errorf("counted %+v", n)
	}
	for item := range client.Job[string](t.Context(), cl, "jobs", "nope", slices.Values([]string{"drop"}), client.JobHooks()) {
		if item.Index == 0 && !errors.Is(item.Err, client.ErrMethodUnknown) {
			t.Errorf("%+v, want an unknown method, which no hook drops", item)
		}
	}
	for item := range client.Job[string](t.Context(), cl, "jobs", "name", slices.Values([]int{7}), client.JobHooks()) {
		if item.Index == 0 && (!errors.Is(item.Err, client.ErrMethod) || !contains(item.Err.Error(), "scatter: takes string")) {
			t.Errorf("%+v, want an error of the scatter hook's argument", item)
		}
	}
}

// A scatter that would make a million parts makes no more than there is room
// for, and ends when the reader leaves.
func TestScatterIsLeft(t *testing.T) {
	c := newCell(t, broker.Options{})
	var emitted atomic.Int64
	c.serve(t, worker.Options{}, jobber("w", "jobs", 4), fickle(&emitted))
	const window, page, most = 32, 256, 1500
	n := 0
	items := slices.Values([]string{"million"})
	var tally client.JobTally
	for item := range client.Job[string](t.Context(), c.dial(t), "jobs", "name", items, client.JobHooks(), client.JobWindow(window), client.JobCount(&tally)) {
		if item.Err != nil || item.Index != 0 {
			t.Errorf("%+v", item)
		}
		if made := int(emitted.Load()); made > n+2*page+2*window {
			t.Fatalf("%d parts were made when %d results had been read", made, n)
		}
		if made := tally.Counts().Made; made > n+window+1 { // one waits for room
			t.Fatalf("%d calls were begun when %d results had been read, and the window is %d", made, n, window)
		}
		if n++; n == most {
			break
		}
	}
	if n != most {
		t.Errorf("%d results, want %d", n, most)
	}
	eventually(t, "all slots are free, those of the hooks too", func() bool {
		return c.pool(t, "jobs").Free == 4 && c.pool(t, "jobs/hooks").Open == 0
	})
}

// A hook that panics ends the job's hooks: what was not gathered is unknown, what
// was not scattered not run, both as a panic, and the pool lives on.
func TestHookPanics(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	var emitted atomic.Int64
	c.serve(t, worker.Options{}, jobber("w", "jobs", 1), fickle(&emitted))
	cl := c.dial(t)
	ends := map[session.Outcome]int{}
	items := slices.Values([]string{"plain", "explode", "plain", "plain", "plain"})
	for item := range client.Job[string](t.Context(), cl, "jobs", "name", items, client.JobHooks(), client.JobOrdered(), client.JobWindow(1)) {
		if item.Index == -1 {
			if item.Err == nil {
				t.Error("a hook that is gone has added something at the end")
			}
			continue
		}
		ends[item.Outcome()]++
		if item.Index == 0 != (item.Err == nil) || item.Err != nil && !errors.Is(item.Err, client.ErrWorkerPanic) {
			t.Errorf("%+v", item)
		}
	}
	if ends[session.Done] != 1 || ends[session.Unknown] < 1 || ends[session.Unknown]+ends[session.NotRun] != 4 {
		t.Errorf("ended as %v", ends)
	}
	for item := range client.Job[string](t.Context(), cl, "jobs", "name", slices.Values([]string{"plain"})) {
		if item.Err != nil {
			t.Errorf("a job after it: %v", item.Err)
		}
	}
	for item := range client.Job[string](t.Context(), cl, "nope", "name", slices.Values([]string{"plain"}), client.JobHooks()) {
		if !errors.Is(item.Err, client.ErrPoolUnknown) || item.Outcome() != session.NotRun {
			t.Errorf("hooks of no pool: %+v", item)
		}
	}
}

// The node that hosts the hooks is killed: their state is lost, every item says
// so, and the workers beside it have lost nothing.
func TestHooksNodeIsKilled(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, jobber("w", "jobs", 4))
	host := start(t, "hooks", append([]string{"BROKER=" + c.url}, quick...)...)
	eventually(t, "the hooks are registered", func() bool { return c.nodes(t) == 2 })
	cl := c.dial(t)
	endless := func(yield func(string) bool) {
		for yield("a message") {
		}
	}
	good, lost := 0, map[session.Outcome]int{}
	for item := range client.Job[string](t.Context(), cl, "jobs", "name", endless, client.JobHooks(), client.JobWindow(8)) {
		switch {
		case item.Err == nil:
			if good++; good == 100 {
				host.kill()
			}
			continue
		case !errors.Is(item.Err, client.ErrWorkerLost):
			t.Errorf("%+v", item)
		}
		lost[item.Outcome()]++
		if lost[session.NotRun] == 20 {
			break
		}
	}
	if good < 100 || lost[session.Done] > 0 || lost[session.Unknown] > 2*8+256 {
		t.Errorf("%d results; afterwards %v", good, lost)
	}
	if got, err := client.Do[string](t.Context(), cl, "jobs", "name", "x"); err != nil || got != "w x" {
		t.Errorf("a call afterwards: %q, %v", got, err)
	}
}

// Hooks that are set up wrongly are Serve's error.
func TestHooksSetUpWrongly(t *testing.T) {
	c := newCell(t, broker.Options{})
	scatter := func(_ context.Context, _ int, _ string, emit func(string) error) error { return emit("") }
	twice := worker.NewHooks(worker.Config[int]{Pool: "jobs"})
	worker.OnScatter(twice, scatter)
	worker.OnScatter(twice, scatter)
	for says, h := range map[string]*worker.Hooks[int]{
		"two hooks that scatter": twice,
		"the name of a pool":     worker.NewHooks(worker.Config[int]{}),
		"prepare nothing":        worker.NewHooks(worker.Config[int]{Pool: "jobs", Warm: 1}),
		"CheckThread":            worker.NewHooks(worker.Config[int]{Pool: "jobs", CheckThread: true}),
		"LockThread":             worker.NewHooks(worker.Config[int]{Pool: "jobs", LockThread: true}),
	} {
		if err := worker.Serve(t.Context(), worker.Options{Broker: c.url, Logger: quiet()}, h); err == nil || !contains(err.Error(), says) {
			t.Errorf("%v, want one that says %q", err, says)
		}
	}
}
