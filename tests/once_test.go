package tests

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// counters is a pool that counts in its session's state and says how it fares.
func counters(name string, slots int) *worker.Pool[*int] {
	p := worker.NewPool(worker.Config[*int]{
		Pool: name, Slots: slots, Lease: long,
		Open: func(context.Context, *worker.Session) (*int, error) { return new(int), nil },
	})
	worker.Handle(p, "add", func(_ context.Context, n *int, by int) (int, error) {
		if by == 0 {
			return 0, errors.New("nothing to add")
		}
		*n += by
		return *n, nil
	})
	worker.Handle(p, "steps", func(ctx context.Context, _ *int, upTo int) (string, error) {
		for i := range upTo {
			if err := worker.Progress(ctx, i); err != nil {
				return "", err
			}
		}
		return "done", nil
	})
	return p
}

// One trip each way is a session of one call, and it leaves its slot behind.
func TestOneCallSessions(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, counters("count", 1))
	cl := c.dial(t)
	for i := 1; i < 50; i++ {
		n, err := client.Do[int](t.Context(), cl, "count", "add", i)
		if err != nil || n != i {
			t.Fatalf("do %d: %d, %v", i, n, err)
		}
	}
	if _, err := client.Do[int](t.Context(), cl, "count", "add", 0); !errors.Is(err, session.ErrMethod) {
		t.Errorf("the method's own error: %v", err)
	}
	if _, err := client.Do[int](t.Context(), cl, "count", "nope", 0); !errors.Is(err, session.ErrMethodUnknown) || !errors.Is(err, session.NotRun) {
		t.Errorf("unknown method: %v", err)
	}
	var first int
	s, err := cl.OpenCall(t.Context(), "count", "add", 5, &first)
	if err != nil || first != 5 {
		t.Fatalf("open with a call: %d, %v", first, err)
	}
	if n, err := client.Call[int](t.Context(), s, "add", 6); err != nil || n != 11 {
		t.Errorf("the next call: %d, %v", n, err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if n, err := client.Do[int](t.Context(), cl, "count", "add", 7); err != nil || n != 7 {
		t.Errorf("a fresh session after it: %d, %v", n, err)
	}
}

// Of a pool that has nothing to open and nothing to close too, whatever the call
// ends with.
func TestOneCallSessionsOfABarePool(t *testing.T) {
	pool := worker.NewPool(worker.Config[struct{}]{Pool: "bare", Slots: 1, Lease: long})
	worker.Handle(pool, "add", func(_ context.Context, _ struct{}, by int) (int, error) {
		switch by {
		case 0:
			return 0, errors.New("nothing to add")
		case -1:
			panic("less")
		}
		return by, nil
	})
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, pool)
	cl := c.dial(t)
	for range 20 {
		if n, err := client.Do[int](t.Context(), cl, "bare", "add", 3); err != nil || n != 3 {
			t.Fatalf("a result: %d, %v", n, err)
		}
		if _, err := client.Do[int](t.Context(), cl, "bare", "add", 0); !errors.Is(err, session.ErrMethod) {
			t.Fatalf("an error: %v", err)
		}
		if _, err := client.Do[int](t.Context(), cl, "bare", "add", -1); !errors.Is(err, session.ErrWorkerPanic) {
			t.Fatalf("a panic: %v", err)
		}
	}
}

// Many calls in flight run in order, and progress reaches the caller.
func TestGoAndProgress(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, counters("count", 1))
	s, err := c.dial(t).Open(t.Context(), "count")
	if err != nil {
		t.Fatal(err)
	}
	var all []*client.Pending
	for range 500 { // far more than the window
		all = append(all, s.Go(t.Context(), "add", 1))
	}
	for i, p := range all {
		var n int
		if err := p.Wait(&n); err != nil || n != i+1 {
			t.Fatalf("call %d: %d, %v", i, n, err)
		}
	}
	p := s.Go(t.Context(), "steps", 100)
	want := 0
	for v, err := range client.Progress[int](p) {
		if err != nil || v != want {
			t.Fatalf("step %d: %d, %v", want, v, err)
		}
		want++
	}
	var end string
	if err := p.Wait(&end); err != nil || end != "done" || want != 100 {
		t.Errorf("end %q, %v after %d steps", end, err, want)
	}
}

// Another client carries on with a session by its token; the one before is
// refused, and forged tokens open nothing.
func TestAttach(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, counters("count", 2), counters("other", 1))
	one, two := c.dial(t), c.dial(t)
	s, err := one.Open(t.Context(), "count")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Call[int](t.Context(), s, "add", 1); err != nil {
		t.Fatal(err)
	}
	token := s.Token()
	if _, err := two.Attach(t.Context(), token, client.InPool("other")); !errors.Is(err, session.ErrTokenInvalid) {
		t.Errorf("a token of another pool: %v", err)
	}
	taken, err := two.Attach(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := client.Call[int](t.Context(), taken, "add", 1); err != nil || n != 2 {
		t.Errorf("the new holder's call: %d, %v", n, err)
	}
	if _, err := client.Call[int](t.Context(), s, "add", 1); !errors.Is(err, session.ErrSessionMoved) {
		t.Errorf("the old holder's call: %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Errorf("the old holder's close: %v", err)
	}
	if n, err := client.Call[int](t.Context(), taken, "add", 1); err != nil || n != 3 {
		t.Errorf("the new holder's call after that: %d, %v", n, err)
	}
	for name, bad := range map[string]string{"cut short": token[:len(token)-2], "forged": token[:20] + "____" + token[24:], "nonsense": "?", "empty": ""} {
		if _, err := two.Attach(t.Context(), bad); !errors.Is(err, session.ErrTokenInvalid) {
			t.Errorf("a token that is %s: %v", name, err)
		}
	}
	if err := taken.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := one.Attach(t.Context(), token); !errors.Is(err, session.ErrSessionClosed) {
		t.Errorf("a token of a session that has ended: %v", err)
	}
}

// A drained node takes nothing new, lets its session end, and is gone without
// a trace; what is opened meanwhile goes to the other one.
func TestDrainNode(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{Name: "old"}, counters("count", 2))
	cl := c.dial(t)
	s, err := cl.Open(t.Context(), "count")
	if err != nil {
		t.Fatal(err)
	}
	c.serve(t, worker.Options{Name: "new"}, counters("count", 8))
	if _, err := c.broker.DrainNode(t.Context(), "old", 0); err != nil {
		t.Fatal(err)
	}
	for range 6 {
		other, err := cl.Open(t.Context(), "count")
		if err != nil {
			t.Fatal(err)
		}
		if other.Route().NodeName != "new" {
			t.Errorf("opened on %s", other.Route().NodeName)
		}
	}
	if _, err := client.Call[int](t.Context(), s, "add", 1); err != nil {
		t.Errorf("the old session goes on: %v", err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	eventually(t, "the drained node has left", func() bool { return c.nodes(t) == 1 })
}

// A call that was begun with Go is told of the end of its context, whether anybody
// waits for it or not.
func TestGoEndsWithItsContext(t *testing.T) {
	c := newCell(t, broker.Options{})
	w := newWebbed(2)
	c.serve(t, worker.Options{}, w.pool)
	cl := c.dial(t)
	s := open(t, cl, "web")
	for name, begin := range map[string]func(ctx context.Context) *client.Pending{
		"Client.Go":  func(ctx context.Context) *client.Pending { return cl.Go(ctx, "web", "block", nil) },
		"Session.Go": func(ctx context.Context) *client.Pending { return s.Go(ctx, "block", nil) },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		p := begin(ctx)
		await(t, w.began, name+" begins")
		cancel()
		if err := await(t, w.ended, name+" ends"); err == nil {
			t.Errorf("%s: its handler's context has not ended", name)
		}
		if err := p.Wait(nil); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An attach whose context has ended already moves nothing.
func TestAttachTooLate(t *testing.T) {
	c := newCell(t, prompt())
	c.serve(t, worker.Options{}, counters("count", 1))
	one, two := c.dial(t), c.dial(t)
	s := open(t, one, "count")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := two.Attach(ctx, s.Token()); !errors.Is(err, session.ErrCancelled) || !errors.Is(err, session.NotRun) {
		t.Errorf("%v, want cancelled, not run", err)
	}
	if _, err := client.Do[int](t.Context(), two, "nowhere", "add", 1); !errors.Is(err, session.ErrPoolUnknown) { // whatever it sent has come
		t.Error(err)
	}
	if n, err := client.Call[int](t.Context(), s, "add", 1); err != nil || n != 1 {
		t.Errorf("its holder's call: %d, %v", n, err)
	}
}

// lateContext ends when it is waited for, once ready has returned.
type lateContext struct {
	context.Context

	done  chan struct{}
	ready func()
	over  atomic.Bool
}

func (l *lateContext) Done() <-chan struct{} {
	if l.over.CompareAndSwap(false, true) {
		l.ready()
		close(l.done)
	}
	return l.done
}

func (l *lateContext) Err() error {
	if l.over.Load() {
		return context.Canceled
	}
	return nil
}

// An attach whose context ends together with its answer has a session, or keeps
// none: its lease ends it.
func TestAttachIsGivenUp(t *testing.T) {
	c := newCell(t, broker.Options{})
	const slots = 8
	p := worker.NewPool(worker.Config[struct{}]{Pool: "p", Slots: slots, Lease: time.Second})
	worker.Handle(p, "m", func(context.Context, struct{}, any) (int, error) { return 0, nil })
	c.serve(t, worker.Options{}, p)
	one, two := c.dial(t), c.dial(t)
	for range slots {
		s := open(t, one, "p")
		moved := func() { eventually(t, "it has moved", func() bool { return s.Err() != nil }) }
		ctx := &lateContext{Context: context.Background(), done: make(chan struct{}), ready: moved}
		if taken, err := two.Attach(ctx, s.Token()); err == nil {
			closeSession(t, taken)
		}
	}
	eventually(t, "all slots are free", func() bool { return c.pool(t, "p").Free == slots })
}

// OpenCall waits for a pool that comes late, as every open does.
func TestOpenCallWaitsForItsPool(t *testing.T) {
	c := newCell(t, prompt())
	cl := c.dial(t)
	type opened struct {
		s   *client.Session
		n   int
		err error
	}
	done := make(chan opened, 1)
	go func() {
		var o opened
		o.s, o.err = cl.OpenCall(bounded(t), "late", "add", 1, &o.n, client.WithLatePools())
		done <- o
	}()
	if _, err := client.Do[int](t.Context(), cl, "late", "add", 1); !errors.Is(err, session.ErrPoolUnknown) { // so was the other told
		t.Error(err)
	}
	c.serve(t, worker.Options{}, counters("late", 1))
	o := await(t, done, "it is open")
	if o.err != nil || o.n != 1 {
		t.Fatalf("%d, %v", o.n, o.err)
	}
	closeSession(t, o.s)
}
