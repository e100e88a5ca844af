package tests

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// Ten goroutines over two pools of three slots, a thousand calls each: four
// have to wait for a slot, every reply is right, and within a session all of
// them name the same process and thread.
func TestTenClientsOverTwoPools(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, place("a", 3), place("b", 3))
	if pids := tenClients(t, c); len(pids) != 1 {
		t.Errorf("served by processes %v, want one", pids)
	}
}

// The same where the slots are spread over two node processes: three slots of
// each pool, one process serving both pools' first, the other their rest.
func TestTenClientsOverTwoNodes(t *testing.T) {
	c := newCell(t, broker.Options{})
	for _, node := range []struct{ name, slots string }{{"one", "1"}, {"two", "2"}} {
		start(t, "node", "BROKER="+c.url, "NAME="+node.name, "SLOTS="+node.slots)
	}
	eventually(t, "both nodes are registered", func() bool { return c.nodes(t) == 2 })
	if pids := tenClients(t, c); len(pids) != 2 {
		t.Errorf("served by processes %v, want two", pids)
	}
}

// tenClients returns the processes that served them.
func tenClients(t *testing.T, c *cell) map[int]bool {
	t.Helper()
	cl := c.dial(t)
	const clients, calls = 10, 1000
	var all, opened sync.WaitGroup
	waited, processes := make(chan bool, clients), make(chan int, clients)
	sixOpen := make(chan struct{})
	opened.Add(6)
	go func() { opened.Wait(); close(sixOpen) }()
	for i := range clients {
		all.Go(func() {
			pool := []string{"a", "b"}[i%2]
			queued := false
			s, err := cl.Open(t.Context(), pool, client.WithPlace(func(int) { queued = true }))
			if err != nil {
				t.Error(err)
				opened.Done()
				return
			}
			waited <- queued
			processes <- s.Route().PID
			if !queued {
				opened.Done()
				<-sixOpen // so that the other four really have to wait
			}
			manyCalls(t, s, calls)
			closeSession(t, s)
		})
	}
	all.Wait()
	close(waited)
	close(processes)
	n, pids := 0, map[int]bool{}
	for q := range waited {
		if q {
			n++
		}
	}
	if n != 4 {
		t.Errorf("%d clients waited for a slot, want 4", n)
	}
	for pid := range processes {
		pids[pid] = true
	}
	return pids
}

func manyCalls(t *testing.T, s *client.Session, calls int) {
	t.Helper()
	var first here
	for n := range calls {
		h, err := client.Call[here](t.Context(), s, "where", n)
		if err != nil {
			t.Error(err)
			return
		}
		if n == 0 {
			first = h
		}
		if h.Arg != n || h.Session != s.ID().String() || h.PID != first.PID || h.Thread != first.Thread || h.PID != s.Route().PID {
			t.Errorf("call %d of session %s: %+v, the first was %+v", n, s.ID(), h, first)
			return
		}
	}
}

// A session that is open and idle keeps its worker while others fight for the
// one slot that is left beside it.
func TestIdleSessionKeepsItsWorker(t *testing.T) {
	c := newCell(t, broker.Options{})
	y := newTally("tally", 2)
	c.serve(t, worker.Options{}, y.pool)
	idle := open(t, c.dial(t), "tally")
	if n := mustCall[int](t, idle, "add", 7); n != 7 {
		t.Fatalf("counted to %d, want 7", n)
	}
	const clients, rounds = 4, 50
	var all sync.WaitGroup
	for range clients {
		cl := c.dial(t)
		all.Go(func() {
			for range rounds {
				s, err := cl.Open(t.Context(), "tally")
				if err != nil {
					t.Error(err)
					return
				}
				if s.Route().Worker == idle.Route().Worker {
					t.Errorf("session %s was given worker %d, which is the idle session's", s.ID(), s.Route().Worker)
				}
				if n, err := client.Call[int](t.Context(), s, "add", 1); err != nil || n != 1 {
					t.Errorf("a fresh session counts to %d, %v; want 1", n, err)
				}
				if err := s.Close(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := mustCall[int](t, idle, "add", 1); n != 8 {
		t.Errorf("the idle session counts to %d, want 8", n)
	}
	if opens := y.opens.Load(); opens != clients*rounds+1 {
		t.Errorf("%d sessions were opened, want %d", opens, clients*rounds+1)
	}
	if p := c.pool(t, "tally"); p.Open != 1 || p.Free != 1 || p.Waiting != 0 {
		t.Errorf("at the end %+v, want one session open and one slot free", p)
	}
}

// Five slots, six clients: the sixth is assigned when the first slot is given
// back, and the slot is that one.
func TestSixthClientGetsTheFirstSlotThatIsGivenBack(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, newTally("tally", 5).pool)
	cl := c.dial(t)
	var five []*client.Session
	for range 5 {
		five = append(five, open(t, cl, "tally"))
	}
	sixth := openLater(t.Context(), cl, "tally")
	if place := await(t, sixth.queued, "the sixth client's place"); place != 1 {
		t.Errorf("place %d, want 1", place)
	}
	for i, s := range five {
		if n := mustCall[int](t, s, "add", i); n != i {
			t.Errorf("counted to %d, want %d", n, i)
		}
	}
	select {
	case o := <-sixth.done:
		t.Fatalf("the sixth client got %v, %v while five sessions were open", o.session, o.err)
	default:
	}
	closeSession(t, five[3])
	o := await(t, sixth.done, "the sixth session")
	if o.err != nil {
		t.Fatal(o.err)
	}
	if got, want := o.session.Route(), five[3].Route(); got.Worker != want.Worker || got.Incarnation != want.Incarnation+1 {
		t.Errorf("the sixth has worker %d in its session %d; the first given back was worker %d in its session %d",
			got.Worker, got.Incarnation, want.Worker, want.Incarnation)
	}
}

// Mistakes of a caller have names of their own, and cost the session nothing.
func TestBadCalls(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	c.serve(t, worker.Options{}, place("a", 2), newTally("tally", 1).pool)
	cl := c.dial(t)
	s, other := open(t, cl, "a"), open(t, cl, "tally")
	for _, test := range []struct {
		name string
		err  func() error
		want error
		says string
	}{
		{"unknown pool", func() error { _, err := cl.Open(t.Context(), "nope"); return err }, session.ErrPoolUnknown, `"nope"`},
		{"empty pool", func() error { _, err := cl.Open(t.Context(), ""); return err }, session.ErrBadMessage, "pool"},
		{"unknown labels", func() error {
			_, err := cl.Open(t.Context(), "a", client.WithLabels(map[string]string{"gpu": "1"}))
			return err
		}, session.ErrLabelsUnknown, `"a"`},
		{"unknown method", func() error { return s.Call(t.Context(), "nope", 1, nil) }, session.ErrMethodUnknown, `"nope"`},
		{"no method", func() error { return s.Call(t.Context(), "", 1, nil) }, session.ErrMethodUnknown, "0 bytes"},
		{"long method", func() error { return s.Call(t.Context(), fmt.Sprintf("%0300d", 1), 1, nil) }, session.ErrMethodUnknown, "300 bytes"},
		{"bad argument", func() error { return s.Call(t.Context(), "where", "a string", nil) }, session.ErrBadArgument, `"where"`},
		{"argument that does not encode", func() error { return s.Call(t.Context(), "where", make(chan int), nil) }, session.ErrBadArgument, "chan"},
		{"reply that does not decode", func() error { var text string; return s.Call(t.Context(), "where", 1, &text) }, session.ErrBadMessage, "done"},
		{"raw bytes for a number", func() error { return s.Call(t.Context(), "where", []byte{1}, nil) }, session.ErrBadArgument, "raw"},
		{"large argument", func() error { return other.Call(t.Context(), "echo", make([]byte, 65<<20), nil) }, session.ErrTooLarge, "68157440"},
		{"large reply", func() error { return other.Call(t.Context(), "big", 65<<20, nil) }, session.ErrTooLarge, "67108864"},
		{"its own error", func() error { return other.Call(t.Context(), "fail", "broken leg", nil) }, session.ErrMethod, "broken leg"},
		{"closed", func() error { closeSession(t, s); return s.Call(t.Context(), "where", 1, nil) }, session.ErrSessionClosed, ""},
		{"closed twice", func() error { closeSession(t, s); return s.Err() }, session.ErrSessionClosed, ""},
	} {
		err := test.err()
		if !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		} else if !contains(err.Error(), test.says) {
			t.Errorf("%s: %q does not say %q", test.name, err, test.says)
		}
	}
	if n := mustCall[int](t, other, "add", 1); n != 1 {
		t.Errorf("the other session counts to %d, want 1", n)
	}
	echoed := mustCall[[]byte](t, other, "echo", make([]byte, 7<<20))
	if len(echoed) != 7<<20 {
		t.Errorf("%d bytes came back, want %d", len(echoed), 7<<20)
	}
}

// Calls of one session that are made at once run one at a time, each once, and
// beyond the window they wait.
func TestManyCallsAtOnceInOneSession(t *testing.T) {
	c := newCell(t, broker.Options{})
	y := newTally("tally", 1, func(w *worker.Config[*counted]) { w.Window = 4 })
	c.serve(t, worker.Options{}, y.pool)
	s := open(t, c.dial(t), "tally")
	const calls = 300
	var all sync.WaitGroup
	seen := make(chan int, calls)
	for range calls {
		all.Go(func() {
			n, err := client.Call[int](t.Context(), s, "add", 1)
			if err != nil {
				t.Error(err)
			}
			seen <- n
		})
	}
	all.Wait()
	close(seen)
	once := map[int]bool{}
	for n := range seen {
		if once[n] || n < 1 || n > calls {
			t.Errorf("counted to %d twice, or out of range", n)
		}
		once[n] = true
	}
	if n := y.ran.Load(); n != calls {
		t.Errorf("%d calls ran, want %d", n, calls)
	}
}

// The end of a node that is told to stop: its sessions are closed, with the
// reason, and their clients told.
func TestNodeStops(t *testing.T) {
	c := newCell(t, broker.Options{})
	y := newTally("tally", 2)
	stop := c.serve(t, worker.Options{}, y.pool)
	cl := c.dial(t)
	busy, idle := open(t, cl, "tally"), open(t, cl, "tally")
	mustCall[int](t, idle, "add", 1)
	ended := make(chan error, 1)
	go func() { ended <- busy.Call(context.Background(), "block", "busy", nil) }()
	await(t, y.began, "the call")
	stop()
	if err := await(t, ended, "the end of the call"); !errors.Is(err, session.ErrCancelled) {
		t.Errorf("the running call ended with %v, want cancelled", err)
	}
	for range 2 {
		if why := await(t, y.closes, "a Close"); !errors.Is(why, session.ErrSessionDrained) {
			t.Errorf("closed because %v, want drained", why)
		}
	}
	for _, s := range []*client.Session{busy, idle} {
		eventually(t, "the client has heard of it", func() bool { return s.Err() != nil })
		if _, err := call[int](t, s, "add", 1); !errors.Is(err, session.ErrSessionDrained) || !errors.Is(err, session.NotRun) {
			t.Errorf("a call afterwards: %v, want drained, not run", err)
		}
	}
	eventually(t, "the broker has no sessions", func() bool { return len(c.status(t).Sessions) == 0 })
}
