package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/tests/nap"
	"github.com/limpet-rpc/limpet/worker"
)

// sloth is a pool whose handlers hang, in one way each.
type sloth struct {
	pool   *worker.Pool[int]
	gate   chan struct{} // closed: those that can be let go, go
	closes chan error    // why, from each Close
	spins  atomic.Uint64
	lazy   chan struct{} // nobody ever sends
}

// brood is how many goroutines the handler that makes them makes.
const brood = 100_000

func newSloth(slots int, lock bool, budget time.Duration) *sloth {
	h := &sloth{gate: make(chan struct{}), closes: make(chan error, 100), lazy: make(chan struct{})}
	h.pool = worker.NewPool(worker.Config[int]{
		Pool: "sloth", Slots: slots, LockThread: lock, Budget: budget,
		Close: func(_ int, why error) { h.closes <- why },
	})
	for method, f := range map[string]func(){
		"spin": h.spin, "wait": h.wait, "nap": h.nap, "breed": h.breed, "echo": func() {},
	} {
		worker.Handle(h.pool, method, func(context.Context, int, any) (int, error) { f(); return worker.ThreadID(), nil })
	}
	worker.Handle(h.pool, "obey", func(ctx context.Context, _ int, _ any) (int, error) { <-ctx.Done(); return 0, ctx.Err() })
	worker.Handle(h.pool, "stroll", stroll)
	worker.Handle(h.pool, "doze", func(_ context.Context, _ int, ms int) (int, error) {
		time.Sleep(time.Duration(ms) * time.Millisecond)
		return ms, nil
	})
	return h
}

//go:noinline
func (h *sloth) spin() {
	for {
		h.spins.Add(1)
	}
}

//go:noinline
func (h *sloth) wait() { <-h.gate }

//go:noinline
func (h *sloth) nap() { nap.InC(3600) }

//go:noinline
func (h *sloth) breed() {
	for range brood {
		go func() { <-h.lazy }()
	}
	<-h.lazy
}

// stroll beats every half second for as long as it is told to, every other time
// with a value.
func stroll(ctx context.Context, _ int, ms int) (beats int, err error) {
	for end := time.Now().Add(time.Duration(ms) * time.Millisecond); time.Now().Before(end) && err == nil; beats++ {
		time.Sleep(500 * time.Millisecond)
		if beats%2 == 0 {
			err = worker.Progress(ctx, beats)
		} else {
			err = worker.Beat(ctx)
		}
	}
	return beats, err
}

// slothRole serves sloths, and a tally beside them.
func slothRole(ctx context.Context) error {
	h := newSloth(setting("SLOTS"), os.Getenv("LOCK") != "", millis("BUDGET"))
	go func() {
		for why := range h.closes {
			fmt.Println("closed", why)
		}
	}()
	return worker.Serve(ctx, worker.Options{
		Broker: os.Getenv("BROKER"), Name: os.Getenv("NAME"), Logger: quiet(), Debugger: os.Getenv("DEBUGGER"),
	}, h.pool, newTally("tally", 1).pool)
}

// mustHang wants a call to end as one that hung, and returns its error. On a
// machine that is too slow the stack may come too late for it: then it says so.
func mustHang(t *testing.T, err error, function string) *session.Error {
	t.Helper()
	e, ok := errors.AsType[*session.Error](err)
	if !ok || !errors.Is(err, client.ErrWorkerHung) || !errors.Is(err, client.ErrUnknown) {
		t.Fatalf("it ended with %v, want worker hung, unknown", err)
	}
	if !strings.Contains(e.Stack, function) && !strings.Contains(e.Stack, "limpet inspect may have it") {
		t.Errorf("the stack does not name %s:\n%s", function, e.Stack)
	}
	return e
}

// Whatever a handler hangs in, its caller hears where, its session ends, its
// neighbours go on, and its slot is not given to anybody.
func TestHangs(t *testing.T) {
	for _, test := range []struct{ method, function, lock string }{
		{"spin", "(*sloth).spin", ""},
		{"spin", "(*sloth).spin", "locked"},
		{"wait", "(*sloth).wait", ""},
		{"nap", "(*sloth).nap", "locked"},
		{"breed", "(*sloth).breed", ""},
	} {
		t.Run(test.method+test.lock, func(t *testing.T) {
			c := newCell(t, broker.Options{})
			const budget = 1000
			p := start(t, "sloth", "BROKER="+c.url, "NAME=cave", "SLOTS=1", "LOCK="+test.lock, fmt.Sprint("BUDGET=", budget))
			cl := c.dial(t)
			s, other := open(t, cl, "sloth"), open(t, cl, "tally")
			thread := mustCall[int](t, s, "echo", 1)
			mustCall[int](t, other, "add", 1)

			began := time.Now()
			first, next := s.Go(t.Context(), test.method, 0), s.Go(t.Context(), "echo", 0)
			over := make(chan struct{})
			slowest := besides(t, other, over)
			e := mustHang(t, first.Wait(nil), test.function)
			close(over)
			t.Logf("heard %s past the budget; the neighbour's slowest call took %s; %s",
				(time.Since(began) - budget*time.Millisecond).Round(time.Millisecond), <-slowest, e.Text)
			if err := next.Wait(nil); !errors.Is(err, client.ErrWorkerHung) || !errors.Is(err, client.ErrNotRun) {
				t.Errorf("the call behind it ended with %v, want worker hung, not run", err)
			}
			if err := s.Err(); !errors.Is(err, client.ErrWorkerHung) {
				t.Errorf("the session ended with %v", err)
			}
			if test.lock != "" && !strings.Contains(e.Text, fmt.Sprint("OS thread ", thread)) {
				t.Errorf("the text does not name thread %d: %s", thread, e.Text)
			}
			eventually(t, "the broker has the autopsy", func() bool {
				all := c.inspect(t, s.ID()).Autopsies
				return len(all) == 1 && strings.Contains(all[0].Stack, test.function) && (test.method != "nap" || all[0].Native != "") // which comes later
			})
			a := c.inspect(t, s.ID()).Autopsies[0]
			if a.Method != test.method || a.Call != 2 || a.NodeName != "cave" || a.PID != p.pid() || !a.Quarantined {
				t.Errorf("the autopsy says %+v", a)
			}
			if test.method == "nap" && !strings.Contains(a.Native, fmt.Sprint("thread ", thread)) {
				t.Errorf("the native stack says %q", a.Native)
			}
			t.Logf("in C: %s", a.Native)
			lost := c.pool(t, "sloth")
			if lost.Quarantined != 1 || lost.Open != 0 || lost.Free != 0 {
				t.Errorf("the pool is %+v, want one slot in quarantine", lost)
			}
			if _, err := cl.Open(t.Context(), "sloth", client.WithWait(50*time.Millisecond)); !errors.Is(err, client.ErrNoWorker) {
				t.Errorf("an open ended with %v, want no worker", err)
			}
			if n := mustCall[int](t, other, "add", 0); n < 1 {
				t.Errorf("the neighbour counts to %d", n)
			}
		})
	}
}

// besides calls until it is told to stop, and tells how long its slowest call
// took.
func besides(t *testing.T, s *client.Session, over chan struct{}) chan time.Duration {
	t.Helper()
	slowest := make(chan time.Duration, 1)
	go func() {
		most := time.Duration(0)
		for {
			select {
			case <-over:
				slowest <- most.Round(time.Microsecond)
				return
			default:
			}
			began := time.Now()
			if _, err := client.Call[int](t.Context(), s, "add", 1); err != nil {
				t.Errorf("the neighbour's call ended with %v", err)
			}
			most = max(most, time.Since(began))
			time.Sleep(time.Millisecond)
		}
	}()
	return slowest
}

// inspect is what the broker knows of a session.
func (c *cell) inspect(t testing.TB, id session.ID) core.Inspection {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	in, err := c.broker.InspectSession(ctx, id)
	if err != nil && !errors.Is(err, broker.ErrUnknown) {
		t.Fatal(err)
	}
	return in
}

// A slot comes out of quarantine when its handler has returned and Close has
// run, and serves the next.
func TestQuarantineEnds(t *testing.T) {
	c := newCell(t, broker.Options{})
	h := newSloth(1, false, 0)
	h.pool.Budget("wait", time.Millisecond) // taken as the shortest there is
	c.serve(t, worker.Options{}, h.pool)
	cl := c.dial(t)
	s := open(t, cl, "sloth")
	_, err := call[int](t, s, "wait", 0)
	_ = mustHang(t, err, "(*sloth).wait")
	eventually(t, "the slot is quarantined", func() bool { return c.pool(t, "sloth").Quarantined == 1 })
	select {
	case why := <-h.closes:
		t.Errorf("Close has run while the handler hangs: %v", why)
	default:
	}
	close(h.gate)
	if why := await(t, h.closes, "Close"); !errors.Is(why, client.ErrWorkerHung) {
		t.Errorf("closed because %v, want worker hung", why)
	}
	next := open(t, cl, "sloth")
	mustCall[int](t, next, "echo", 0)
	if p := c.pool(t, "sloth"); p.Quarantined != 0 || p.Open != 1 {
		t.Errorf("the pool is %+v", p)
	}
	eventually(t, "there is one autopsy, whose handler has returned", func() bool {
		a := c.inspect(t, s.ID()).Autopsies
		return len(a) == 1 && !a[0].Quarantined
	})
}

// The context of a call that hangs ends only after it was looked where it
// hangs.
func TestHungCallIsCancelled(t *testing.T) {
	c := newCell(t, broker.Options{})
	h := newSloth(1, false, time.Millisecond)
	c.serve(t, worker.Options{}, h.pool)
	s := open(t, c.dial(t), "sloth")
	_, err := call[int](t, s, "obey", 0)
	_ = mustHang(t, err, "newSloth")
	if why := await(t, h.closes, "Close"); !errors.Is(why, client.ErrWorkerHung) {
		t.Errorf("closed because %v", why)
	}
	eventually(t, "the slot is free", func() bool { return c.pool(t, "sloth").Free == 1 })
}

// Signs of life keep a slow call from being taken for a hung one.
func TestSlowIsNotHung(t *testing.T) {
	c := newCell(t, broker.Options{})
	h := newSloth(1, false, time.Second)
	c.serve(t, worker.Options{}, h.pool)
	s := open(t, c.dial(t), "sloth")
	mustCall[int](t, s, "stroll", 10_000) // it has to go on for so long
	if n := len(c.inspect(t, s.ID()).Autopsies); n != 0 {
		t.Errorf("%d autopsies of a call that was slow", n)
	}
}

// A budget is the pool's, or the method's, or the call's, whichever is nearest,
// shorter or longer.
func TestWhoseBudget(t *testing.T) {
	c := newCell(t, broker.Options{})
	h := newSloth(1, false, time.Millisecond)
	h.pool.Budget("echo", time.Hour)
	h.pool.Budget("stroll", -1)
	c.serve(t, worker.Options{}, h.pool)
	cl := c.dial(t)
	s := open(t, cl, "sloth")
	if _, err := client.Call[int](t.Context(), s, "doze", 1000, client.WithBudget(time.Hour)); err != nil {
		t.Errorf("with an hour: %v", err)
	}
	if _, err := client.Call[int](t.Context(), s, "doze", 1000, client.WithBudget(-1)); err != nil {
		t.Errorf("without any: %v", err)
	}
	if n, err := client.Do[int](t.Context(), cl, "sloth", "doze", 1000, client.WithWait(50*time.Millisecond)); err == nil {
		t.Errorf("the slot is taken, and Do got %d", n)
	}
	_, err := call[int](t, s, "wait", 0)
	_ = mustHang(t, err, "(*sloth).wait")
	close(h.gate)
}

// An unknown method with a budget is a mistake that Serve tells.
func TestBudgetOfNoMethod(t *testing.T) {
	h := newSloth(1, false, 0)
	h.pool.Budget("sing", time.Second)
	if err := worker.Serve(t.Context(), worker.Options{}, h.pool); err == nil || !strings.Contains(err.Error(), "sing") {
		t.Errorf("serve: %v, want an error that names the method", err)
	}
}
