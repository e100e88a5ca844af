package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// A panic in a handler: the call ends with the stack that names the function,
// its session with it, others go on, and the slot serves the next.
func TestHandlerPanics(t *testing.T) {
	c := newCell(t, broker.Options{})
	y := newTally("tally", 2)
	c.serve(t, worker.Options{}, y.pool)
	cl := c.dial(t)
	s, other := open(t, cl, "tally"), open(t, cl, "tally")
	mustCall[int](t, other, "add", 1)
	_, err := call[int](t, s, "explode", "out of rum")
	e, ok := errors.AsType[*session.Error](err)
	if !ok || e.Code != session.ErrWorkerPanic || e.Outcome != session.Done {
		t.Fatalf("it ended with %v, want worker panicked, done", err)
	}
	if !strings.Contains(e.Text, "out of rum") || !strings.Contains(e.Stack, "(*counted).explode") {
		t.Errorf("text %q, stack\n%s", e.Text, e.Stack)
	}
	if _, err := call[int](t, s, "add", 1); !errors.Is(err, session.ErrWorkerPanic) || !errors.Is(err, session.NotRun) {
		t.Errorf("a later call: %v, want worker panicked, not run", err)
	}
	if why := await(t, y.closes, "Close"); !errors.Is(why, session.ErrWorkerPanic) {
		t.Errorf("closed because %v, want worker panicked", why)
	}
	closeSession(t, s)
	next := open(t, cl, "tally")
	if next.Route().Worker != s.Route().Worker {
		t.Errorf("the next session has worker %d, want %d", next.Route().Worker, s.Route().Worker)
	}
	if n := mustCall[int](t, next, "add", 1); n != 1 {
		t.Errorf("the next session counts to %d, want 1", n)
	}
	if n := mustCall[int](t, other, "add", 1); n != 2 {
		t.Errorf("the other session counts to %d, want 2", n)
	}
}

// crew is a pool whose parts fail as a test wants; it is set up before it is
// served.
type crew struct {
	pool  *worker.Pool[int]
	open  func(context.Context) error
	close func()
	body  func()
}

func newCrew(slots int, lock bool) *crew {
	w := &crew{open: func(context.Context) error { return nil }, close: func() {}, body: func() {}}
	w.pool = worker.NewPool(worker.Config[int]{
		Pool: "crew", Slots: slots, LockThread: lock, CheckThread: lock,
		Open:  func(ctx context.Context, _ *worker.Session) (int, error) { return worker.ThreadID(), w.open(ctx) },
		Close: func(int, error) { w.close() },
	})
	worker.Handle(w.pool, "do", func(context.Context, int, any) (int, error) { w.body(); return worker.ThreadID(), nil })
	return w
}

// Open that fails, panics or gives its goroutine up: the client gets the text,
// and the slot is there for the next.
func TestOpenFails(t *testing.T) {
	for _, test := range []struct {
		name, says string
		open       func(context.Context) error
	}{
		{"error", "no rum on board", func(context.Context) error { return errors.New("no rum on board") }},
		{"panic", "kraken", func(context.Context) error { panic("kraken") }},
		{"nil panic", "nil", func(context.Context) error { panic(nil) }}, //nolint:govet // on purpose
		{"exit", "Goexit", func(context.Context) error { runtime.Goexit(); return nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCell(t, broker.Options{})
			w := newCrew(1, false)
			w.open = test.open
			c.serve(t, worker.Options{}, w.pool)
			cl := c.dial(t)
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), long)
				_, err := cl.Open(ctx, "crew")
				cancel()
				if !errors.Is(err, session.ErrOpenFailed) || !contains(err.Error(), test.says) {
					t.Fatalf("open ended with %v, want open failed with %q", err, test.says)
				}
			}
			eventually(t, "the slot is free", func() bool { return c.pool(t, "crew").Free == 1 })
		})
	}
}

// Close that panics or gives its goroutine up gives its slot back all the same.
func TestCloseFails(t *testing.T) {
	for _, test := range []struct {
		name  string
		close func()
	}{
		{"panic", func() { panic("mutiny") }},
		{"exit", runtime.Goexit},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCell(t, broker.Options{})
			w := newCrew(1, false)
			w.close = test.close
			c.serve(t, worker.Options{}, w.pool)
			cl := c.dial(t)
			for range 3 {
				s := open(t, cl, "crew")
				mustCall[int](t, s, "do", 1)
				closeSession(t, s)
			}
			eventually(t, "the slot is free", func() bool { return c.pool(t, "crew").Free == 1 })
		})
	}
}

// A handler that ends its goroutine, as a test's FailNow does, is a panic like
// any other.
func TestHandlerExits(t *testing.T) {
	c := newCell(t, broker.Options{})
	w := newCrew(1, false)
	w.body = runtime.Goexit
	c.serve(t, worker.Options{}, w.pool)
	cl := c.dial(t)
	for range 2 {
		s := open(t, cl, "crew")
		if _, err := call[int](t, s, "do", 1); !errors.Is(err, session.ErrWorkerPanic) || !contains(err.Error(), "Goexit") {
			t.Fatalf("it ended with %v, want worker panicked, by Goexit", err)
		}
		closeSession(t, s)
	}
	eventually(t, "the slot is free", func() bool { return c.pool(t, "crew").Free == 1 })
}

// LockThread gives sessions that are open at once different threads, keeps
// each on its own, and ends the thread with its session.
func TestThreadsEndWithTheirSessions(t *testing.T) {
	c := newCell(t, broker.Options{})
	const slots = 20
	w := newCrew(slots, true)
	c.serve(t, worker.Options{}, w.pool)
	cl := c.dial(t)
	before := 0
	for round := range 4 {
		threads, sessions := map[int]*client.Session{}, []*client.Session{}
		for range slots {
			s := open(t, cl, "crew")
			thread := mustCall[int](t, s, "do", 1)
			if threads[thread] != nil {
				t.Errorf("sessions %s and %s are both on thread %d", s.ID(), threads[thread].ID(), thread)
			}
			threads[thread] = s
			sessions = append(sessions, s)
		}
		for thread, s := range threads {
			if now := mustCall[int](t, s, "do", 1); now != thread {
				t.Errorf("session %s moved from thread %d to %d", s.ID(), thread, now)
			}
		}
		for _, s := range sessions {
			closeSession(t, s)
		}
		eventually(t, "its threads have ended", func() bool {
			for thread := range threads {
				if alive(thread) {
					return false
				}
			}
			return true
		})
		now := tasks(t)
		if round == 0 {
			before = now
		} else if now > before+2*slots { // the runtime makes some of its own
			t.Errorf("%d threads after round %d, %d after the first", now, round, before)
		}
	}
}

func tasks(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Skip("no /proc to count threads in: ", err)
	}
	return len(all)
}

// alive tells whether a thread of this process exists. The first one, which Go
// never ends, does not count.
func alive(thread int) bool {
	_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", thread))
	return err == nil && thread != os.Getpid()
}
