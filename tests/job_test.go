package tests

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/assigner"
	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// jobber is a pool of functions on strings, on a node of that name.
func jobber(name, pool string, slots int) *worker.Pool[struct{}] {
	p := worker.NewPool(worker.Config[struct{}]{Pool: pool, Slots: slots})
	worker.Handle(p, "name", func(_ context.Context, _ struct{}, text string) (string, error) { return name + " " + text, nil })
	worker.Handle(p, "double", func(_ context.Context, _ struct{}, n int) (int, error) { return 2 * n, nil })
	worker.Handle(p, "next", func(_ context.Context, _ struct{}, n int) (int, error) {
		if n == 13 {
			return 0, errors.New("not this one")
		}
		return n + 1, nil
	})
	worker.Handle(p, "where", func(_ context.Context, _ struct{}, n int) (here, error) { return here{Arg: n, PID: os.Getpid()}, nil })
	worker.Handle(p, "panic", func(_ context.Context, _ struct{}, text string) (string, error) { panic(text) })
	return p
}

// jobsRole serves it.
func jobsRole(ctx context.Context) error {
	o := worker.Options{Broker: os.Getenv("BROKER"), Name: os.Getenv("NAME"), Beat: millis("BEAT"), Misses: setting("MISSES"), Logger: quiet()}
	return worker.Serve(ctx, o, jobber(o.Name, "jobs", setting("SLOTS")))
}

func numbers(n int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}

// Ten messages to two workers, in turn: five and five, one at a time and all at
// once.
func TestJobRoundRobin(t *testing.T) {
	c := newCell(t, broker.Options{Policy: assigner.RoundRobin})
	c.serve(t, worker.Options{}, jobber("worker1", "jobs", 10))
	c.serve(t, worker.Options{}, jobber("worker2", "jobs", 10))
	cl := c.dial(t)
	for _, window := range []int{1, 10} {
		by := map[string]int{}
		for item := range client.Job[string](t.Context(), cl, "jobs", "name", slices.Values(slices.Repeat([]string{"a message"}, 10)), client.JobWindow(window)) {
			if item.Err != nil || item.Arg != "a message" {
				t.Errorf("item %d of %q: %v", item.Index, item.Arg, item.Err)
			}
			by[item.Result]++
		}
		if len(by) != 2 || by["worker1 a message"] != 5 || by["worker2 a message"] != 5 {
			t.Errorf("window %d: %v, want five of each", window, by)
		}
	}
}

// A thousand items right after connecting: none is lost, also where the window
// is larger than the broker's queue. Ordered ones come in order.
func TestJobRightAfterConnecting(t *testing.T) {
	c := newCell(t, broker.Options{Queue: 64})
	var tally client.JobTally
	p := worker.NewPool(worker.Config[struct{}]{Pool: "jobs", Slots: 4})
	worker.Handle(p, "double", func(_ context.Context, _ struct{}, n int) (int, error) {
		for deadline := time.Now().Add(long); tally.Counts().Retried == 0 && time.Now().Before(deadline); { // until the queue was too short
			time.Sleep(time.Millisecond) // a poll, not an event
		}
		return 2 * n, nil
	})
	c.serve(t, worker.Options{}, p)
	n := 0
	for item := range client.Job[int](t.Context(), c.dial(t), "jobs", "double", numbers(1000),
		client.JobOrdered(), client.JobWindow(300), client.JobCount(&tally), client.JobTotal(1000)) {
		if item.Err != nil || item.Index != n || item.Arg != n || item.Result != 2*n {
			t.Fatalf("item %d: %+v", n, item)
		}
		n++
	}
	got := tally.Counts()
	if n != 1000 || got.Taken != 1000 || got.Made != 1000 || got.Done != 1000 || got.Ended() != 1000 || got.Retried == 0 || got.Left != 0 || got.Rate <= 0 {
		t.Errorf("%d items, counted %+v", n, got)
	}
}

// Mistakes have types, are never taken for results, and cost the others nothing.
func TestJobMistakes(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	c.serve(t, worker.Options{}, jobber("one", "jobs", 2))
	cl := c.dial(t)
	only := func(pool, method string, arg any) client.JobItem[any, string] {
		t.Helper()
		items := slices.Collect(client.Job[string](t.Context(), cl, pool, method, slices.Values([]any{arg})))
		if len(items) != 1 {
			t.Fatalf("%d ends of one item", len(items))
		}
		return items[0]
	}
	for _, test := range []struct {
		name, pool, method string
		arg                any
		want               error
		outcome            session.Outcome
	}{
		{"unknown pool", "nope", "name", "x", client.ErrPoolUnknown, session.NotRun},
		{"unknown function", "jobs", "nope", "x", client.ErrMethodUnknown, session.NotRun},
		{"no function", "jobs", "", "x", client.ErrMethodUnknown, session.NotRun},
		{"bad argument", "jobs", "name", 7, client.ErrBadArgument, session.NotRun},
		{"argument that does not encode", "jobs", "name", make(chan int), client.ErrBadArgument, session.NotRun},
		{"its own error", "jobs", "next", 13, client.ErrMethod, session.Done},
		{"panic", "jobs", "panic", "ouch", client.ErrWorkerPanic, session.Done},
		{"result of another type", "jobs", "double", 7, session.ErrBadMessage, session.Done},
	} {
		item := only(test.pool, test.method, test.arg)
		if !errors.Is(item.Err, test.want) || item.Outcome() != test.outcome || item.Result != "" {
			t.Errorf("%s: %q, %v, %v; want %v, %v", test.name, item.Result, item.Err, item.Outcome(), test.want, test.outcome)
		}
	}
	n := 0
	var tally client.JobTally
	for item := range client.Job[int](t.Context(), cl, "jobs", "next", numbers(100), client.JobCount(&tally)) {
		if (item.Err != nil) != (item.Arg == 13) || item.Err == nil && item.Result != item.Arg+1 {
			t.Errorf("%+v", item)
		}
		n++
	}
	if got := tally.Counts(); n != 100 || got.Done != 99 || got.Failed != 1 {
		t.Errorf("%d items, counted %+v", n, got)
	}
}

// A chain over two pools: each stage runs once for each item, and an error ends
// its item where it happens.
func TestJobChain(t *testing.T) {
	const items, bad = 500, 13
	var ran [2][items]atomic.Int32
	c := newCell(t, broker.Options{})
	var served []worker.Served
	for i, name := range []string{"first", "second"} {
		p := worker.NewPool(worker.Config[struct{}]{Pool: name, Slots: 3 - i})
		worker.Handle(p, "run", func(_ context.Context, _ struct{}, n int) (int, error) {
			ran[i][n%items].Add(1)
			if n == bad {
				return 0, errors.New("not this one")
			}
			return n + items, nil
		})
		served = append(served, p)
	}
	c.serve(t, worker.Options{}, served...)
	n := 0
	for item := range client.Job[int](t.Context(), c.dial(t), "first", "run", numbers(items), client.JobThen("second", "run")) {
		n++
		switch {
		case item.Arg == bad:
			if !errors.Is(item.Err, client.ErrMethod) || !contains(item.Err.Error(), `"first"`) {
				t.Errorf("item %d: %d, %v", bad, item.Result, item.Err)
			}
		case item.Err != nil || item.Result != item.Arg+2*items:
			t.Errorf("%+v", item)
		}
	}
	if n != items {
		t.Errorf("%d results of %d items", n, items)
	}
	for i := range items {
		second := int32(1)
		if i == bad {
			second = 0
		}
		if one, two := ran[0][i].Load(), ran[1][i].Load(); one != 1 || two != second {
			t.Errorf("item %d went through its stages %d and %d times", i, one, two)
		}
	}
}

// A job over another's output is a chain too.
func TestJobOverAJob(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, jobber("one", "first", 3), jobber("one", "second", 2))
	cl := c.dial(t)
	doubled := func(yield func(int) bool) {
		for item := range client.Job[int](t.Context(), cl, "first", "double", numbers(200)) {
			if item.Err != nil {
				t.Error(item.Err)
			}
			if !yield(item.Result) {
				return
			}
		}
	}
	sum := 0
	for item := range client.Job[int](t.Context(), cl, "second", "next", doubled) {
		if item.Err != nil {
			t.Error(item.Err)
		}
		sum += item.Result
	}
	if want := 200*199 + 200; sum != want {
		t.Errorf("a sum of %d, want %d", sum, want)
	}
}

// A reader that stops reading stops the job; one that leaves ends it, with what
// runs, and leaves nothing behind.
func TestJobReaderStops(t *testing.T) {
	c := newCell(t, broker.Options{})
	y := newTally("tally", 4)
	worker.Handle(y.pool, "block or add", func(ctx context.Context, _ *counted, n int) (int, error) {
		if n == 0 {
			return n, nil
		}
		y.began <- "blocked"
		<-ctx.Done()
		y.ended <- ctx.Err()
		return n, ctx.Err()
	})
	c.serve(t, worker.Options{}, y.pool)
	cl := c.dial(t)
	taken := 0
	endless := func(yield func(int) bool) {
		for ; yield(1); taken++ {
		}
	}
	seen := 0
	for item := range client.Job[int](t.Context(), cl, "tally", "add", endless, client.JobWindow(8)) {
		if item.Err != nil {
			t.Error(item.Err)
		}
		if seen++; seen == 100 {
			break
		}
	}
	if ran := int(y.ran.Load()); ran < seen || ran > seen+8 || taken > seen+9 {
		t.Errorf("%d results read, %d items ran, %d were taken: the window is 8", seen, ran, taken)
	}
	for item := range client.Job[int](t.Context(), cl, "tally", "block or add", numbers(10), client.JobWindow(3)) {
		if item.Err != nil || item.Arg != 0 {
			t.Errorf("%+v", item)
		}
		for range 2 {
			await(t, y.began, "a call that blocks")
		}
		break
	}
	for range 2 {
		if err := await(t, y.ended, "its end"); !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v, want cancelled", err)
		}
	}
	eventually(t, "all slots are free again", func() bool { return c.pool(t, "tally").Free == 4 })
}

// A sequence that panics takes the loop along, and nothing else.
func TestJobSequencePanics(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, jobber("one", "jobs", 2))
	n := 0
	func() {
		defer func() {
			if p := recover(); p != "no more numbers" {
				t.Errorf("recovered %v", p)
			}
		}()
		for item := range client.Job[int](t.Context(), c.dial(t), "jobs", "double", func(yield func(int) bool) {
			_ = yield(1) && yield(2)
			panic("no more numbers")
		}) {
			if item.Err != nil {
				t.Error(item.Err)
			}
			n++
		}
	}()
	if n != 2 {
		t.Errorf("%d results of two items", n)
	}
	eventually(t, "all slots are free", func() bool { return c.pool(t, "jobs").Free == 2 })
}

// Where its context ends, a job takes no more items, and those that it took end
// as cancelled: done ones with their results, the others as what they are.
func TestJobIsCancelled(t *testing.T) {
	c := newCell(t, broker.Options{})
	y := newTally("tally", 2)
	c.serve(t, worker.Options{}, y.pool)
	ctx, cancel := context.WithCancel(t.Context())
	taken, ends := 0, map[session.Outcome]int{}
	names := func(yield func(string) bool) {
		for taken++; yield("one"); taken++ {
		}
	}
	defer context.AfterFunc(t.Context(), cancel)()
	go func() { // until both have begun, or the test is over
		defer cancel()
		for range 2 {
			select {
			case <-y.began:
			case <-ctx.Done():
			}
		}
	}()
	for item := range client.Job[int](ctx, c.dial(t), "tally", "block", names, client.JobWindow(6)) {
		if !errors.Is(item.Err, client.ErrCancelled) {
			t.Errorf("item %d: %v, want cancelled", item.Index, item.Err)
		}
		ends[item.Outcome()]++
	}
	if all := ends[session.Done] + ends[session.NotRun] + ends[session.Unknown]; all != taken || taken > 7 || ends[session.NotRun] < 1 || ends[session.Done] > 2 {
		t.Errorf("%d items taken, ended as %v; two had begun, the window is 6", taken, ends)
	}
}

// A worker process is killed in the middle of 20,000 items: every item has one
// end, a result or the word that nobody knows, and those are no more than the
// dead process had slots.
func TestJobOutlivesAWorker(t *testing.T) {
	c := newCell(t, broker.Options{})
	const slots, items = 8, 20_000
	env := append([]string{"BROKER=" + c.url, fmt.Sprint("SLOTS=", slots)}, quick...)
	one := start(t, "jobs", append(env, "NAME=one")...)
	start(t, "jobs", append(env, "NAME=two")...)
	eventually(t, "both nodes are registered", func() bool { return c.nodes(t) == 2 })
	var tally client.JobTally
	ends, by, unknown, n := make([]bool, items), map[int]int{}, 0, 0
	for item := range client.Job[here](t.Context(), c.dial(t), "jobs", "where", numbers(items), client.JobCount(&tally)) {
		if n++; n == items/4 {
			one.kill()
		}
		if ends[item.Index] {
			t.Errorf("item %d has ended twice", item.Index)
		}
		ends[item.Index] = true
		switch {
		case item.Err == nil && item.Result.Arg == item.Arg:
			by[item.Result.PID]++
		case item.Outcome() == session.Unknown && errors.Is(item.Err, client.ErrWorkerLost):
			unknown++
		default:
			t.Errorf("%+v", item)
		}
	}
	got := tally.Counts()
	if n != items || got.Done+unknown != items || got.Unknown != unknown || unknown > slots || len(by) != 2 {
		t.Errorf("%d ends, %d of them unknown, by %v; counted %+v", n, unknown, by, got)
	}
	t.Logf("%d of %d items are unknown, %d were tried again; %.0f items/s", unknown, items, got.Retried, got.Rate)
}

// What did not run is tried again, so often and no more; what has run never is.
func TestJobTriesAgain(t *testing.T) {
	c := newCell(t, broker.Options{})
	var opens, ran atomic.Int64
	p := worker.NewPool(worker.Config[int]{Pool: "shy", Slots: 1, Open: func(context.Context, *worker.Session) (int, error) {
		if opens.Add(1)%3 != 0 {
			return 0, errors.New("not yet")
		}
		return 0, nil
	}})
	worker.Handle(p, "fail", func(_ context.Context, _ int, text string) (string, error) {
		ran.Add(1)
		return "", errors.New(text)
	})
	c.serve(t, worker.Options{}, p)
	cl := c.dial(t)
	for _, test := range []struct {
		retries, opens, ran int64
		want                error
		outcome             session.Outcome
	}{{2, 3, 1, client.ErrMethod, session.Done}, {1, 2, 0, client.ErrOpenFailed, session.NotRun}} {
		opens.Store(0)
		ran.Store(0)
		var tally client.JobTally
		job := client.Job[string](t.Context(), cl, "shy", "fail", slices.Values([]string{"once"}), client.JobRetries(int(test.retries)), client.JobCount(&tally))
		for item := range job {
			if !errors.Is(item.Err, test.want) || item.Outcome() != test.outcome {
				t.Errorf("with %d retries: %v, want %v, %v", test.retries, item.Err, test.want, test.outcome)
			}
		}
		if opens.Load() != test.opens || ran.Load() != test.ran || tally.Counts().Retried != int(test.retries) {
			t.Errorf("with %d retries: opened %d times, ran %d times, counted %+v", test.retries, opens.Load(), ran.Load(), tally.Counts())
		}
	}
}

// BenchmarkJob is empty items through a job, all in one process.
func BenchmarkJob(b *testing.B) {
	c := newCell(b, broker.Options{})
	c.serve(b, worker.Options{}, jobber("w", "jobs", 64))
	cl := c.dial(b)
	b.ReportAllocs()
	b.ResetTimer()
	for item := range client.Job[int](b.Context(), cl, "jobs", "double", numbers(b.N)) {
		if item.Err != nil {
			b.Fatal(item.Err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "items/s")
}

// The broker is killed in the middle of a job, and started again: no item runs
// twice, and what their ends say is true.
func TestJobOutlivesABroker(t *testing.T) {
	noLeaks(t)
	env := append([]string{"RECOVERY=3000"}, quick...)
	b, url := brokerProcess(t, "tcp://127.0.0.1:*", env...)
	const items = 5000
	var ran [items]atomic.Int32
	p := worker.NewPool(worker.Config[struct{}]{Pool: "jobs", Slots: 8})
	worker.Handle(p, "count", func(_ context.Context, _ struct{}, n int) (int, error) {
		ran[n].Add(1)
		return n, nil
	})
	run(t, func(ctx context.Context) error {
		return worker.Serve(ctx, worker.Options{Broker: url, Beat: quickBeat, Misses: quickMisses, Logger: quiet()}, p)
	})
	cl := dial(t, url, client.WithBeat(quickBeat, quickMisses))
	n, ends := 0, map[session.Outcome]int{}
	for item := range client.Job[int](t.Context(), cl, "jobs", "count", numbers(items), client.JobWindow(64)) {
		if n++; n == items/4 {
			b.kill()
			brokerProcess(t, url, env...)
		}
		ends[item.Outcome()]++
		times := ran[item.Index].Load()
		if item.Err == nil && (times != 1 || item.Result != item.Index) || times > 1 || item.Err != nil && item.Outcome() != session.Unknown {
			t.Errorf("item %d ran %d times: %d, %v", item.Index, times, item.Result, item.Err)
		}
	}
	if n != items || ends[session.Unknown] > 64 {
		t.Errorf("%d ends: %v", n, ends)
	}
	t.Logf("%v", ends)
}

// Once its context has ended a job takes nothing more from its sequence, not even
// where there is room.
func TestJobTakesNothingMore(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, counters("p", 2))
	cl := c.dial(t)
	for range 30 {
		ctx, cancel := context.WithCancel(t.Context())
		more := 0
		seq := func(yield func(int) bool) {
			for i := range 100 {
				if i == 3 {
					cancel()
				}
				if i > 3 {
					more++
				}
				if !yield(i) {
					return
				}
			}
		}
		for range client.Job[int](ctx, cl, "p", "add", seq) {
		}
		if more > 0 {
			t.Errorf("%d items were taken after the job's context had ended", more)
		}
	}
}

// Past its limit an item ends as ErrDeadline, also where it was only refused by
// then.
func TestJobLimit(t *testing.T) {
	c := newCell(t, broker.Options{})
	p := worker.NewPool(worker.Config[struct{}]{Pool: "p", Slots: 1, Open: func(context.Context, *worker.Session) (struct{}, error) {
		return struct{}{}, errors.New("not today")
	}})
	worker.Handle(p, "m", func(context.Context, struct{}, int) (int, error) { return 0, nil })
	c.serve(t, worker.Options{}, p)
	ends := 0
	for item := range client.Job[int](t.Context(), c.dial(t), "p", "m", numbers(1), client.JobLimit(100*time.Millisecond)) {
		if ends++; !errors.Is(item.Err, client.ErrDeadline) {
			t.Errorf("%v", item.Err)
		}
	}
	if ends != 1 {
		t.Errorf("%d ends", ends)
	}
}
