package tests

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// galley is a pool with lanes. It checks by itself that a session's Open, calls
// and Close are on one thread, and that a thread does one thing at a time.
type galley struct {
	pool    *worker.Pool[*oar]
	open    func() error
	close   func()
	gate    chan struct{} // closed: those that wait, go
	waiting atomic.Int32
	wrong   atomic.Pointer[string]

	mu   sync.Mutex
	busy map[int]string // by thread
}

// oar is one session's state.
type oar struct{ thread int }

func newGalley(slots, lanes int, budget time.Duration) *galley {
	g := &galley{open: func() error { return nil }, close: func() {}, gate: make(chan struct{}), busy: map[int]string{}}
	g.pool = worker.NewPool(worker.Config[*oar]{
		Pool: "galley", Slots: slots, Lanes: lanes, CheckThread: true, Budget: budget,
		Open: func(_ context.Context, s *worker.Session) (o *oar, err error) {
			o = &oar{worker.ThreadID()}
			g.on(o, "Open of "+s.ID().String(), func() { err = g.open() })
			return o, err
		},
		Close: func(o *oar, _ error) { g.on(o, "Close", g.close) },
	})
	for method, f := range map[string]func(){
		"row": func() {}, "wait": func() { g.waiting.Add(1); <-g.gate }, "panic": func() { panic("mutiny") }, "exit": runtime.Goexit,
	} {
		worker.Handle(g.pool, method, func(_ context.Context, o *oar, _ any) (int, error) {
			g.on(o, method, f)
			return o.thread, nil
		})
	}
	worker.Handle(g.pool, "nap", func(_ context.Context, o *oar, ms int) (int, error) {
		g.on(o, "nap", func() { time.Sleep(time.Duration(ms) * time.Millisecond) })
		return o.thread, nil
	})
	return g
}

// on does something on a session's thread, which must be free for it.
func (g *galley) on(o *oar, what string, do func()) {
	here := worker.ThreadID()
	g.mu.Lock()
	if other := g.busy[here]; other != "" || here != o.thread {
		text := fmt.Sprintf("%s on thread %d, its own is %d, where %q runs", what, here, o.thread, other)
		g.wrong.Store(&text)
	}
	g.busy[here] = what
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.busy, here)
		g.mu.Unlock()
	}()
	do()
}

func (g *galley) check(t *testing.T) {
	t.Helper()
	if text := g.wrong.Load(); text != nil {
		t.Error(*text)
	}
}

// Forty sessions on two lanes: two threads in all, each session on one of them
// from Open to Close, however they come and go, one thing at a time.
func TestLanes(t *testing.T) {
	c := newCell(t, broker.Options{})
	g := newGalley(40, 2, 0)
	stop := c.serve(t, worker.Options{}, g.pool)
	cl := c.dial(t)
	var mu sync.Mutex
	threads := map[int]int{}
	var all sync.WaitGroup
	for i := range 40 {
		all.Go(func() {
			for range 3 {
				s := open(t, cl, "galley")
				first := mustCall[int](t, s, "row", i)
				mu.Lock()
				threads[first]++
				mu.Unlock()
				var calls sync.WaitGroup
				for range 50 {
					calls.Go(func() {
						if now := mustCall[int](t, s, "row", i); now != first {
							t.Errorf("session %s moved from thread %d to %d", s.ID(), first, now)
						}
					})
				}
				calls.Wait()
				closeSession(t, s)
			}
		})
	}
	all.Wait()
	if len(threads) != 2 {
		t.Errorf("sessions by thread: %v, want two threads", threads)
	}
	eventually(t, "all slots are free", func() bool { return c.pool(t, "galley").Free == 40 })
	stop()
	for thread := range threads {
		eventually(t, "the lanes' threads have ended", func() bool { return !alive(thread) })
	}
	g.check(t)
}

// lanes opens sessions until both lanes have one, and returns two of the first
// lane and one of the other.
func lanes(t *testing.T, cl *client.Client) (one, two, other *client.Session) {
	t.Helper()
	by := map[int][]*client.Session{}
	for range 4 {
		s := open(t, cl, "galley")
		thread := mustCall[int](t, s, "row", 0)
		by[thread] = append(by[thread], s)
	}
	var pairs [][]*client.Session
	for _, sessions := range by {
		pairs = append(pairs, sessions)
	}
	if len(pairs) != 2 || len(pairs[0]) != 2 {
		t.Fatalf("four sessions are on %d lanes, want two on each of two", len(pairs))
	}
	return pairs[0][0], pairs[0][1], pairs[1][0]
}

// While a handler holds a lane, the calls of its neighbours have not started:
// they can be cancelled, and their deadlines pass, as not run. The other lane
// goes on.
func TestCallsWaitForTheirLane(t *testing.T) {
	c := newCell(t, broker.Options{})
	g := newGalley(4, 2, 0)
	c.serve(t, worker.Options{}, g.pool)
	one, two, other := lanes(t, c.dial(t))
	holds := one.Go(t.Context(), "wait", 0)
	eventually(t, "the lane is held", func() bool { return g.waiting.Load() == 1 })

	err := lastWord(func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		return two.Call(ctx, "row", 0, nil)
	})
	if !errors.Is(err, session.ErrDeadline) || !errors.Is(err, client.ErrNotRun) {
		t.Errorf("a call whose deadline passed ended with %v, want deadline passed, not run", err)
	}
	err = lastWord(func() error {
		ctx, cancel := context.WithCancel(t.Context())
		late := two.Go(ctx, "row", 0)
		mustCall[int](t, other, "row", 0)
		cancel()
		return late.Wait(nil)
	})
	if !errors.Is(err, client.ErrNotRun) {
		t.Errorf("a call that was cancelled ended with %v, want not run", err)
	}
	next := two.Go(t.Context(), "row", 0)
	close(g.gate)
	for _, p := range []*client.Pending{holds, next} {
		if err := p.Wait(nil); err != nil {
			t.Error(err)
		}
	}
	g.check(t)
}

// A budget runs from the start of its handler, not from when the call began to
// wait for its lane.
func TestBudgetOnALane(t *testing.T) {
	c := newCell(t, broker.Options{})
	g := newGalley(6, 1, 2*time.Second)
	c.serve(t, worker.Options{}, g.pool)
	cl := c.dial(t)
	var all []*client.Pending
	for range 6 {
		all = append(all, open(t, cl, "galley").Go(t.Context(), "nap", 400))
	}
	for _, p := range all {
		if err := p.Wait(nil); err != nil {
			t.Error(err)
		}
	}
	g.check(t)
}

// A call that hangs takes its lane: its neighbours' sessions end as hung, what
// waited not run, their slots with it. The other lane goes on and gets the new
// sessions. When the handler returns, all is as before.
func TestHungLane(t *testing.T) {
	c := newCell(t, broker.Options{})
	g := newGalley(6, 2, 0)
	g.pool.Budget("wait", time.Millisecond) // taken as the shortest there is
	stop := c.serve(t, worker.Options{}, g.pool)
	cl := c.dial(t)
	one, two, other := lanes(t, cl)
	holds := one.Go(t.Context(), "wait", 0)
	eventually(t, "the lane is held", func() bool { return g.waiting.Load() == 1 })
	behind := two.Go(t.Context(), "row", 0)
	_ = mustHang(t, holds.Wait(nil), "newGalley")
	if err := behind.Wait(nil); !errors.Is(err, client.ErrWorkerHung) || !errors.Is(err, client.ErrNotRun) || !contains(err.Error(), one.ID().String()) {
		t.Errorf("the neighbour's call ended with %v, want worker hung, not run, and the other's name", err)
	}
	eventually(t, "the neighbour's session has ended", func() bool { return errors.Is(two.Err(), client.ErrWorkerHung) })
	eventually(t, "both slots are quarantined", func() bool { return c.pool(t, "galley").Quarantined == 2 })
	there := mustCall[int](t, other, "row", 0)
	for range 2 {
		if s := open(t, cl, "galley"); mustCall[int](t, s, "row", 0) != there {
			t.Error("a new session is on the lane that hangs")
		}
	}
	eventually(t, "the autopsy names the thread", func() bool {
		a := c.inspect(t, one.ID()).Autopsies
		return len(a) == 1 && a[0].Thread != there && a[0].Thread != 0
	})
	close(g.gate)
	eventually(t, "both slots are free", func() bool { p := c.pool(t, "galley"); return p.Free == 2 && p.Quarantined == 0 })
	if s := open(t, cl, "galley"); mustCall[int](t, s, "row", 0) == there {
		t.Error("the lane is not used again")
	}
	stop()
	g.check(t)
}

// Where every lane hangs, an open that finds no other node is told so in time.
func TestAllLanesHang(t *testing.T) {
	c := newCell(t, broker.Options{})
	g := newGalley(3, 1, 0)
	g.pool.Budget("wait", time.Millisecond)
	c.serve(t, worker.Options{}, g.pool)
	cl := c.dial(t)
	_, err := call[int](t, open(t, cl, "galley"), "wait", 0)
	_ = mustHang(t, err, "newGalley")
	if s, err := cl.Open(t.Context(), "galley", client.WithWait(300*time.Millisecond)); err == nil {
		t.Errorf("session %s was opened", s.ID())
	}
	later := openLater(t.Context(), cl, "galley")
	close(g.gate)
	if o := await(t, later.done, "the session"); o.err != nil {
		t.Error(o.err)
	}
	eventually(t, "the others are free", func() bool { p := c.pool(t, "galley"); return p.Free == 2 && p.Quarantined == 0 })
	g.check(t)
}

// Whatever ends a session's code badly leaves its lane and its neighbours
// alive.
func TestLaneOutlivesPanics(t *testing.T) {
	c := newCell(t, broker.Options{})
	g := newGalley(3, 1, 0)
	var bad func()
	g.open = func() error {
		if bad != nil {
			bad()
		}
		return nil
	}
	c.serve(t, worker.Options{}, g.pool)
	cl := c.dial(t)
	neighbour := open(t, cl, "galley")
	thread := mustCall[int](t, neighbour, "row", 0)
	for _, method := range []string{"panic", "exit", "panic", "exit"} {
		s := open(t, cl, "galley")
		first, behind := s.Go(t.Context(), method, 0), s.Go(t.Context(), "row", 0)
		if err := first.Wait(nil); !errors.Is(err, session.ErrWorkerPanic) {
			t.Errorf("%s ended with %v, want worker panicked", method, err)
		}
		if err := behind.Wait(nil); !errors.Is(err, client.ErrNotRun) {
			t.Errorf("the call behind %s ended with %v, want not run", method, err)
		}
		if now := mustCall[int](t, neighbour, "row", 0); now != thread {
			t.Errorf("after %s the neighbour is on thread %d, it was on %d", method, now, thread)
		}
	}
	for name, f := range map[string]func(){"panic": func() { panic("mutiny") }, "exit": runtime.Goexit} {
		bad = f
		if _, err := cl.Open(t.Context(), "galley"); !errors.Is(err, session.ErrOpenFailed) {
			t.Errorf("open with %s ended with %v, want open failed", name, err)
		}
		bad = nil
		g.close = f
		closeSession(t, open(t, cl, "galley"))
		eventually(t, "the slots are free", func() bool { return c.pool(t, "galley").Free == 2 })
		g.close = func() {}
		if now := mustCall[int](t, neighbour, "row", 0); now != thread {
			t.Errorf("after %s the neighbour is on thread %d, it was on %d", name, now, thread)
		}
	}
	g.check(t)
}

// An open that is given up while it waits for its lane never runs.
func TestOpenWaitsForItsLane(t *testing.T) {
	c := newCell(t, broker.Options{})
	g := newGalley(3, 1, 0)
	var opens atomic.Int32
	g.open = func() error { opens.Add(1); return nil }
	stop := c.serve(t, worker.Options{}, g.pool)
	cl := c.dial(t)
	s := open(t, cl, "galley")
	holds := s.Go(t.Context(), "wait", 0)
	eventually(t, "the lane is held", func() bool { return g.waiting.Load() == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	given := openLater(ctx, cl, "galley")
	eventually(t, "it is on offer", func() bool { return c.pool(t, "galley").Free == 1 })
	cancel()
	if o := await(t, given.done, "the open"); o.err == nil {
		t.Error("it was opened")
	}
	eventually(t, "its slot is free", func() bool { return c.pool(t, "galley").Free == 2 })
	kept := openLater(t.Context(), cl, "galley")
	close(g.gate)
	if o := await(t, kept.done, "the open"); o.err != nil {
		t.Error(o.err)
	}
	if err := holds.Wait(nil); err != nil {
		t.Error(err)
	}
	if n := opens.Load(); n != 2 {
		t.Errorf("Open ran %d times, want 2", n)
	}
	stop() // with sessions open
	g.check(t)
}

// A session's thread is its own, or shared.
func TestLanesOrLockThread(t *testing.T) {
	for _, config := range []worker.Config[int]{
		{Pool: "p", Lanes: 1, LockThread: true}, {Pool: "p", Lanes: -1}, {Pool: "p", Lanes: 1025, Slots: 2000},
	} {
		pool := worker.NewPool(config)
		worker.Handle(pool, "m", func(context.Context, int, any) (int, error) { return 0, nil })
		if err := worker.Serve(t.Context(), worker.Options{}, pool); err == nil {
			t.Errorf("%+v is served", config)
		}
	}
}
