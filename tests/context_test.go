package tests

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// An open that is given up while it waits loses its place and never gets a
// slot.
func TestCancelWhileQueued(t *testing.T) {
	c := newCell(t, broker.Options{})
	y := newTally("tally", 1)
	c.serve(t, worker.Options{}, y.pool)
	cl := c.dial(t)
	held := open(t, cl, "tally")
	ctx, cancel := context.WithCancel(t.Context())
	first := openLater(ctx, cl, "tally")
	await(t, first.queued, "a place")
	second := openLater(t.Context(), cl, "tally")
	await(t, second.queued, "the place behind it")
	cancel()
	o := await(t, first.done, "the end of the first")
	if !errors.Is(o.err, session.ErrCancelled) || !errors.Is(o.err, context.Canceled) || !errors.Is(o.err, session.NotRun) {
		t.Errorf("the first ended with %v, want cancelled, not run", o.err)
	}
	eventually(t, "its place is gone", func() bool {
		q := c.status(t).Queue
		return len(q) == 1 && q[0].Place == 1
	})
	closeSession(t, held)
	o = await(t, second.done, "the second session")
	if o.err != nil {
		t.Fatal(o.err)
	}
	closeSession(t, o.session)
	eventually(t, "the slot is free", func() bool { return c.pool(t, "tally").Free == 1 })
	if n := y.opens.Load(); n != 2 {
		t.Errorf("%d sessions were opened, want 2", n)
	}
}

// A wait that is over says so: by the broker where a wait was named, by the
// context where that ended.
func TestWaitIsOver(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, newTally("tally", 1).pool)
	cl := c.dial(t)
	open(t, cl, "tally")
	if _, err := cl.Open(t.Context(), "tally", client.WithWait(50*time.Millisecond)); !errors.Is(err, session.ErrNoWorker) || !errors.Is(err, session.NotRun) {
		t.Errorf("open ended with %v, want no worker in time, not run", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := cl.Open(ctx, "tally"); !errors.Is(err, session.ErrDeadline) && !errors.Is(err, session.ErrNoWorker) {
		t.Errorf("open ended with %v, want deadline passed or no worker in time", err)
	}
	eventually(t, "nobody waits", func() bool { return c.pool(t, "tally").Waiting == 0 })
	if _, err := cl.Open(ctx, "tally"); !errors.Is(err, session.ErrDeadline) {
		t.Errorf("open with a context that is over: %v, want deadline passed", err)
	}
}

// Who opens, calls and closes under one context again and again does not look for its
// end each time. It ends what he waits for all the same.
func TestEndOfAContextThatManyShare(t *testing.T) {
	c := newCell(t, broker.Options{})
	began := make(chan bool, 1)
	pool := worker.NewPool(worker.Config[struct{}]{Pool: "pool", Slots: 2})
	worker.Handle(pool, "add", func(_ context.Context, _ struct{}, n int) (int, error) { return n + 1, nil })
	worker.Handle(pool, "wait", func(ctx context.Context, _ struct{}, _ int) (int, error) {
		began <- true
		<-ctx.Done()
		return 0, ctx.Err()
	})
	c.serve(t, worker.Options{}, pool)
	cl := c.dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	for n := range 64 {
		if sum, err := client.Do[int](ctx, cl, "pool", "add", n); err != nil || sum != n+1 {
			t.Fatalf("%d and 1 are %d, %v", n, sum, err)
		}
		s, err := cl.Open(ctx, "pool")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(ctx); err != nil {
			t.Fatal(err)
		}
	}
	open(t, cl, "pool")
	called := make(chan error, 1)
	go func() {
		_, err := client.Do[int](ctx, cl, "pool", "wait", 0)
		called <- err
	}()
	await(t, began, "the call")
	queued := openLater(ctx, cl, "pool")
	await(t, queued.queued, "a place")
	bare := make(chan error, 1)
	go func() { // as most open: nobody tells him his place
		_, err := cl.Open(ctx, "pool")
		bare <- err
	}()
	eventually(t, "both wait", func() bool { return c.pool(t, "pool").Waiting == 2 })
	cancel()
	for what, ends := range map[string]chan error{"the call": called, "the open": bare} {
		if err := await(t, ends, "the end of "+what); !errors.Is(err, session.ErrCancelled) || !errors.Is(err, context.Canceled) {
			t.Errorf("%s ended with %v, want cancelled", what, err)
		}
	}
	if o := await(t, queued.done, "the end of the other open"); !errors.Is(o.err, session.ErrCancelled) {
		t.Errorf("the other open ended with %v, want cancelled", o.err)
	}
}

// Clients of one process share their waiters: a call of one ends with its context also
// where another's calls had that watched.
func TestEndOfAContextThatClientsShare(t *testing.T) {
	c := newCell(t, broker.Options{})
	began := make(chan bool, 1)
	pool := worker.NewPool(worker.Config[struct{}]{Pool: "pool", Slots: 2})
	worker.Handle(pool, "add", func(_ context.Context, _ struct{}, n int) (int, error) { return n + 1, nil })
	worker.Handle(pool, "wait", func(ctx context.Context, _ struct{}, _ int) (int, error) {
		began <- true
		<-ctx.Done()
		return 0, ctx.Err()
	})
	c.serve(t, worker.Options{}, pool)
	one, other := c.dial(t), c.dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	called := make(chan error, 1)
	go func() {
		for n := range 64 {
			if _, err := client.Do[int](ctx, one, "pool", "add", n); err != nil {
				t.Error(err)
			}
		}
		_, err := client.Do[int](ctx, other, "pool", "wait", 0)
		called <- err
	}()
	await(t, began, "the call")
	cancel()
	if err := await(t, called, "the end of the call"); !errors.Is(err, session.ErrCancelled) || !errors.Is(err, context.Canceled) {
		t.Errorf("the call ended with %v, want cancelled", err)
	}
}

// An open that is given up while the worker's Open runs ends that Open's
// context and leaves no session behind.
func TestCancelWhileOpening(t *testing.T) {
	c := newCell(t, broker.Options{})
	w := newCrew(1, false)
	began, ended := make(chan bool, 10), make(chan error, 10)
	slow := func(ctx context.Context) error {
		began <- true
		<-ctx.Done()
		ended <- ctx.Err()
		return nil // it opened after all, for nobody
	}
	w.open = slow
	closes := make(chan bool, 10)
	w.close = func() { closes <- true }
	c.serve(t, worker.Options{}, w.pool)
	ctx, cancel := context.WithCancel(t.Context())
	o := openLater(ctx, c.dial(t), "crew")
	await(t, began, "Open")
	cancel()
	if got := await(t, o.done, "the end of the open"); !errors.Is(got.err, session.ErrCancelled) {
		t.Errorf("it ended with %v, want cancelled", got.err)
	}
	if err := await(t, ended, "the end of Open's context"); !errors.Is(err, context.Canceled) {
		t.Errorf("Open's context ended with %v", err)
	}
	await(t, closes, "Close of what nobody wanted")
	eventually(t, "the slot is free", func() bool { p := c.pool(t, "crew"); return p.Free == 1 && p.Open == 0 })
}

// Opens that are given up at any moment, also just as the route arrives, never
// leave a session behind.
func TestCancelledOpensNeverLeak(t *testing.T) {
	c := newCell(t, broker.Options{})
	y := newTally("tally", 2)
	c.serve(t, worker.Options{}, y.pool)
	cl := c.dial(t)
	var all sync.WaitGroup
	for lane := range 4 {
		all.Go(func() {
			for i := range 150 {
				ctx, cancel := context.WithCancel(t.Context())
				timer := time.AfterFunc(time.Duration((i*37+lane*11)%900)*time.Microsecond, cancel)
				if s, err := cl.Open(ctx, "tally"); err == nil {
					closeSession(t, s)
				} else if !errors.Is(err, session.ErrCancelled) {
					t.Error(err)
				}
				timer.Stop()
				cancel()
			}
		})
	}
	all.Wait()
	eventually(t, "both slots are free", func() bool {
		p := c.pool(t, "tally")
		return p.Free == 2 && p.Open == 0 && p.Offered == 0 && p.Waiting == 0
	})
	for range 2 { // and so the node thinks as well
		open(t, cl, "tally")
	}
}

// A context that ends while the call runs reaches the handler, and the error
// says that the call had begun.
func TestCancelWhileRunning(t *testing.T) {
	c := newCell(t, broker.Options{})
	y := newTally("tally", 1)
	c.serve(t, worker.Options{}, y.pool)
	s := open(t, c.dial(t), "tally")
	for _, test := range []struct {
		name         string
		context      func() (context.Context, context.CancelFunc)
		code, inside error
	}{
		{"cancelled", func() (context.Context, context.CancelFunc) { return context.WithCancel(t.Context()) }, session.ErrCancelled, context.Canceled},
		{
			"deadline", func() (context.Context, context.CancelFunc) {
				return context.WithTimeout(t.Context(), 2*time.Second) // in which it begins
			},
			session.ErrDeadline, context.DeadlineExceeded,
		},
	} {
		ctx, cancel := test.context()
		ended := make(chan error, 1)
		go func() { ended <- s.Call(ctx, "block", test.name, nil) }()
		await(t, y.began, "the call")
		if test.name == "cancelled" {
			cancel()
		}
		err := await(t, ended, "its end")
		if !errors.Is(err, test.code) || !errors.Is(err, test.inside) || errors.Is(err, session.NotRun) {
			t.Errorf("%s: it ended with %v", test.name, err)
		}
		// The handler may learn of a deadline by its own clock or by its caller's cancel.
		if err := await(t, y.ended, "the end of the handler's context"); !errors.Is(err, test.inside) && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the handler's context ended with %v", test.name, err)
		}
		cancel()
	}
	if n := mustCall[int](t, s, "add", 1); n != 1 {
		t.Errorf("afterwards it counts to %d, want 1", n)
	}
}

// A call's deadline is its handler's too, and a call without one has none.
func TestDeadlineReachesTheHandler(t *testing.T) {
	c := newCell(t, broker.Options{})
	p := worker.NewPool(worker.Config[int]{Pool: "clock", Slots: 1})
	worker.Handle(p, "left", func(ctx context.Context, _ int, _ any) (int, error) {
		deadline, has := ctx.Deadline()
		if !has {
			return -1, nil
		}
		return int(time.Until(deadline).Milliseconds()), nil
	})
	c.serve(t, worker.Options{}, p)
	s := open(t, c.dial(t), "clock")
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if left, err := client.Call[int](ctx, s, "left", 0); err != nil || left > 3_600_001 || left < 3_600_000-int(long.Milliseconds()) {
		t.Errorf("of an hour %d ms are left, %v", left, err)
	}
	if left, err := client.Call[int](t.Context(), s, "left", 0); err != nil || left != -1 {
		t.Errorf("without a deadline %d ms are left, %v", left, err)
	}
}

// A call that is given up while another of its session runs is certainly not
// run; a handler that does not look at its context leaves its caller with an
// unknown outcome, and later calls wait for it.
func TestCancelBehindAnother(t *testing.T) {
	c := newCell(t, broker.Options{})
	y := newTally("tally", 1)
	c.serve(t, worker.Options{}, y.pool)
	s := open(t, c.dial(t), "tally")
	ctx, cancel := context.WithCancel(t.Context())
	deaf := make(chan error, 1)
	go func() { deaf <- s.Call(ctx, "wait", 10, nil) }()
	gate := await(t, y.gates, "the call that runs")
	ran := y.ran.Load()

	err := lastWord(func() error {
		behind, cancelBehind := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancelBehind()
		return s.Call(behind, "add", 100, nil)
	})
	if !errors.Is(err, session.NotRun) || !errors.Is(err, session.ErrDeadline) {
		t.Errorf("the call behind ended with %v, want deadline passed, not run", err)
	}
	cancel()
	if err := await(t, deaf, "the end of the deaf call"); !errors.Is(err, session.Unknown) || !errors.Is(err, session.ErrCancelled) {
		t.Errorf("the deaf call ended with %v, want cancelled, unknown", err)
	}
	later := make(chan int, 1)
	go func() { later <- mustCall[int](t, s, "add", 1) }()
	close(gate)
	if n := await(t, later, "the later call"); n != 11 {
		t.Errorf("it counts to %d, want 11: the deaf call ran, the one behind it did not", n)
	}
	if n := y.ran.Load(); n != ran+1 {
		t.Errorf("%d calls ran, want 1", n-ran)
	}
}

// Client.Close while calls are in flight and opens wait: everybody is told,
// and the slots are free.
func TestClientCloses(t *testing.T) {
	c := newCell(t, broker.Options{})
	y := newTally("tally", 2)
	c.serve(t, worker.Options{}, y.pool)
	cl := c.dial(t)
	busy, idle := open(t, cl, "tally"), open(t, cl, "tally")
	ended := make(chan error, 1)
	go func() { ended <- busy.Call(context.Background(), "block", "busy", nil) }()
	await(t, y.began, "the call")
	waiting := openLater(t.Context(), cl, "tally")
	await(t, waiting.queued, "a place")
	if err := cl.Close(); err != nil {
		t.Fatal(err)
	}
	if err := await(t, ended, "the end of the call"); !errors.Is(err, session.ErrClientDone) || !errors.Is(err, session.Unknown) {
		t.Errorf("the call ended with %v, want client closed, unknown", err)
	}
	if o := await(t, waiting.done, "the end of the open"); !errors.Is(o.err, session.ErrClientDone) {
		t.Errorf("the open ended with %v, want client closed", o.err)
	}
	if err := idle.Call(t.Context(), "add", 1, nil); !errors.Is(err, session.ErrClientDone) || !errors.Is(err, session.NotRun) {
		t.Errorf("a call afterwards: %v, want client closed, not run", err)
	}
	if err := idle.Close(t.Context()); err != nil {
		t.Errorf("close afterwards: %v", err)
	}
	for range 2 {
		if why := await(t, y.closes, "Close of a session"); !errors.Is(why, session.ErrSessionClosed) {
			t.Errorf("closed because %v, want closed by its holder", why)
		}
	}
	eventually(t, "both slots are free, nobody waits", func() bool { p := c.pool(t, "tally"); return p.Free == 2 && p.Waiting == 0 })
}

// The three clocks end a session without anybody's help; the lease does not
// end one whose client is there.
func TestClocks(t *testing.T) {
	c := newCell(t, broker.Options{})
	y := newTally("tally", 4)
	c.serve(t, worker.Options{}, y.pool)
	cl := c.dial(t)
	const lease = 3 * time.Second
	leased, opened := open(t, cl, "tally", client.WithLimits(session.Limits{Lease: lease})), time.Now()
	idle := open(t, cl, "tally", client.WithLimits(session.Limits{Idle: 200 * time.Millisecond}))
	aged := open(t, cl, "tally", client.WithLimits(session.Limits{MaxAge: 300 * time.Millisecond}))
	_, _ = call[int](t, idle, "add", 1) // on a slow machine it is over by now
	for aged.Err() == nil {             // calls do not keep it
		_, _ = call[int](t, aged, "add", 1)
	}
	for _, test := range []struct {
		s    *client.Session
		says string
	}{{idle, session.ClockIdle}, {aged, session.ClockMaxAge}} {
		eventually(t, test.says, func() bool { return test.s.Err() != nil })
		if err := test.s.Err(); !errors.Is(err, session.ErrSessionExpired) || !contains(err.Error(), test.says) {
			t.Errorf("it ended with %v, want expired, by its %s", err, test.says)
		}
		if _, err := call[int](t, test.s, "add", 1); !errors.Is(err, session.ErrSessionExpired) || !errors.Is(err, session.NotRun) {
			t.Errorf("a call afterwards: %v, want expired, not run", err)
		}
	}
	<-time.After(lease*4/3 - time.Since(opened)) // longer than its lease
	if n := mustCall[int](t, leased, "add", 1); n != 1 {
		t.Errorf("the session whose client beats counts to %d, want 1", n)
	}
}

// A wait is over where no broker is, too.
func TestWaitIsOverWithoutBroker(t *testing.T) {
	noLeaks(t)
	b, err := broker.New(broker.Options{Listen: "tcp://127.0.0.1:*", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	stop := run(t, b.Run)
	cl := dial(t, b.Endpoint(), client.WithBeat(50*time.Millisecond, 2))
	stop()
	eventually(t, "the client knows", func() bool { return !cl.Connected() })
	for what, begin := range map[string]func(ctx context.Context) error{
		"Open": func(ctx context.Context) error {
			_, err := cl.Open(ctx, "p", client.WithWait(50*time.Millisecond))
			return err
		},
		"Do": func(ctx context.Context) error {
			_, err := client.Do[int](ctx, cl, "p", "m", 0, client.WithWait(50*time.Millisecond))
			return err
		},
	} {
		if err := begin(bounded(t)); !errors.Is(err, session.ErrNoWorker) || !errors.Is(err, session.NotRun) {
			t.Errorf("%s: %v, want no worker in time, not run", what, err)
		}
	}
}
