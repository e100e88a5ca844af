package tests

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// kitchen is a pool with warm workers. A state is the thread that it was
// prepared on.
type kitchen struct {
	pool     *worker.Pool[int]
	prepare  func(context.Context) error
	prepared atomic.Int32
	open     func(s *worker.Session) error

	mu     sync.Mutex
	closed map[int]error // by state
}

func newKitchen(c worker.Config[int]) *kitchen {
	k := &kitchen{prepare: func(context.Context) error { return nil }, closed: map[int]error{}}
	k.open = func(s *worker.Session) error {
		if worker.Prepared[int](s) == 0 {
			return errors.New("nothing was prepared")
		}
		return nil
	}
	c.Pool = "kitchen"
	c.Prepare = func(ctx context.Context) (int, error) {
		if err := k.prepare(ctx); err != nil {
			return 0, err
		}
		k.prepared.Add(1)
		return worker.ThreadID(), nil
	}
	c.Open = func(_ context.Context, s *worker.Session) (int, error) { return worker.Prepared[int](s), k.open(s) }
	c.Close = func(state int, why error) {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.closed[state] = why
	}
	k.pool = worker.NewPool(c)
	worker.Handle(k.pool, "thread", func(_ context.Context, state int, _ any) ([]int, error) {
		return []int{state, worker.ThreadID()}, nil
	})
	return k
}

func (k *kitchen) has(n int32) func() bool { return func() bool { return k.prepared.Load() == n } }

// Warm workers are made ahead, on the threads that their sessions then have;
// sessions take them, others are made in their place while slots are free, and
// what is left is closed at the end.
func TestWarmWorkers(t *testing.T) {
	c := newCell(t, broker.Options{})
	k := newKitchen(worker.Config[int]{Slots: 4, Warm: 2, LockThread: true, CheckThread: true})
	stop := c.serve(t, worker.Options{}, k.pool)
	eventually(t, "two are ready", k.has(2))
	if p := c.pool(t, "kitchen"); p.Free != 4 {
		t.Errorf("%d slots are free, want 4: nobody has one", p.Free)
	}
	cl := c.dial(t)
	for opened, prepared := range []int32{3, 4, 4, 4} { // never more than the slots
		s := open(t, cl, "kitchen")
		if at := mustCall[[]int](t, s, "thread", 0); at[0] != at[1] {
			t.Errorf("prepared on thread %d, called on %d", at[0], at[1])
		}
		eventually(t, "others are ready", k.has(prepared))
		if p := c.pool(t, "kitchen"); p.Open != opened+1 || p.Free != 3-opened {
			t.Errorf("the pool is %+v after %d opens", p, opened+1)
		}
		if opened == 3 {
			closeSession(t, s)
			eventually(t, "another is made on the free slot", k.has(5))
		}
	}
	stop()
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.closed) != 5 {
		t.Errorf("closed: %v, want five states", k.closed)
	}
	for state, why := range k.closed {
		if !errors.Is(why, session.ErrSessionDrained) && !errors.Is(why, session.ErrSessionClosed) {
			t.Errorf("state %d was closed because %v", state, why)
		}
	}
}

// A session that comes while its worker is being made waits for that one, and
// one for which none can be made any more is refused with the reason.
func TestPrepareFails(t *testing.T) {
	for name, fails := range map[string]func(){
		"error": func() {}, "panic": func() { panic("no stove") }, "exit": runtime.Goexit,
	} {
		t.Run(name, func(t *testing.T) {
			c := newCell(t, broker.Options{})
			k := newKitchen(worker.Config[int]{Slots: 1, Warm: 1})
			var broken atomic.Bool
			var tries atomic.Int32
			broken.Store(true)
			gate, began := make(chan struct{}), make(chan struct{}, 100)
			k.prepare = func(context.Context) error {
				began <- struct{}{}
				if tries.Add(1) == 1 {
					<-gate
				}
				if !broken.Load() {
					return nil
				}
				fails()
				return errors.New("no stove")
			}
			c.serve(t, worker.Options{}, k.pool)
			cl := c.dial(t)
			await(t, began, "the first try")
			waits := openLater(t.Context(), cl, "kitchen")
			eventually(t, "it is on offer", func() bool { return c.pool(t, "kitchen").Free == 0 })
			close(gate)
			if o := await(t, waits.done, "the open"); !errors.Is(o.err, session.ErrOpenFailed) {
				t.Errorf("open ended with %v, want open failed", o.err)
			}
			if _, err := cl.Open(t.Context(), "kitchen"); !errors.Is(err, session.ErrOpenFailed) {
				t.Errorf("open ended with %v, want open failed", err)
			}
			broken.Store(false)
			eventually(t, "it is tried again", func() bool { return k.prepared.Load() > 0 })
			closeSession(t, open(t, cl, "kitchen"))
			eventually(t, "the slot is free", func() bool { return c.pool(t, "kitchen").Free == 1 })
		})
	}
}

// Where Open fails, what was prepared for it is closed.
func TestOpenFailsAfterPrepare(t *testing.T) {
	c := newCell(t, broker.Options{})
	k := newKitchen(worker.Config[int]{Slots: 1})
	why := errors.New("the cook is ill")
	k.open = func(*worker.Session) error { return why }
	c.serve(t, worker.Options{}, k.pool)
	if _, err := c.dial(t).Open(t.Context(), "kitchen"); !errors.Is(err, session.ErrOpenFailed) || !contains(err.Error(), why.Error()) {
		t.Errorf("open ended with %v, want open failed: %v", err, why)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.closed) != 1 {
		t.Errorf("closed: %v, want one", k.closed)
	}
	for _, err := range k.closed {
		if !errors.Is(err, why) {
			t.Errorf("closed because %v, want %v", err, why)
		}
	}
}

// Warm workers need something to prepare, and a thread that is theirs.
func TestWarmWithoutPrepare(t *testing.T) {
	none := func(context.Context) (int, error) { return 0, nil }
	for _, config := range []worker.Config[int]{
		{Pool: "p", Warm: 1}, {Pool: "p", Warm: -1, Prepare: none}, {Pool: "p", Warm: 1, Prepare: none, Lanes: 1},
	} {
		pool := worker.NewPool(config)
		worker.Handle(pool, "m", func(context.Context, int, any) (int, error) { return 0, nil })
		if err := worker.Serve(t.Context(), worker.Options{}, pool); err == nil {
			t.Errorf("warm %d, prepare %t, lanes %d is served", config.Warm, config.Prepare != nil, config.Lanes)
		}
	}
}
