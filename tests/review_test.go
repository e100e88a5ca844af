package tests

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/worker"
)

// A reader that fails after its call has ended must harm no other call.
func TestReviewLateReaderError(t *testing.T) {
	c := newCell(t, broker.Options{})
	p := worker.NewPool(worker.Config[struct{}]{Pool: "p", Slots: 1})
	worker.HandleStream(p, "refuse", func(context.Context, struct{}, io.Reader, io.Writer) error { return errors.New("not wanted") })
	worker.Handle(p, "nap", func(ctx context.Context, _ struct{}, _ any) (string, error) {
		select {
		case <-time.After(300 * time.Millisecond):
			return "slept", nil
		case <-ctx.Done():
			return "", ctx.Err()
		}
	})
	c.serve(t, worker.Options{}, p)
	s := open(t, c.dial(t), "p")
	for i := range 10 {
		r, w := io.Pipe()
		if err := s.Call(t.Context(), "refuse", r, nil); err == nil {
			t.Fatal("taken")
		}
		var all sync.WaitGroup
		all.Go(func() {
			time.Sleep(100 * time.Millisecond)
			w.CloseWithError(errors.New("the upload broke off"))
		})
		var word string
		if err := s.Call(t.Context(), "nap", nil, &word); err != nil {
			t.Fatalf("round %d: a call that nobody cancelled: %v", i, err)
		}
		all.Wait()
	}
}

// lateCtx ends when it is waited for, once ready says so.
type lateCtx struct {
	context.Context
	done  chan struct{}
	ready func()
	over  atomic.Bool
}

func (l *lateCtx) Done() <-chan struct{} {
	if l.over.CompareAndSwap(false, true) {
		l.ready()
		close(l.done)
	}
	return l.done
}

func (l *lateCtx) Err() error {
	if l.over.Load() {
		return context.Canceled
	}
	return nil
}

// C: an attach whose context ends together with its answer keeps no session.
func TestReviewAttachGivenUp(t *testing.T) {
	c := newCell(t, broker.Options{})
	p := worker.NewPool(worker.Config[struct{}]{Pool: "p", Slots: 20, Lease: time.Second})
	worker.Handle(p, "m", func(context.Context, struct{}, any) (int, error) { return 0, nil })
	c.serve(t, worker.Options{}, p)
	one, two := c.dial(t), c.dial(t)
	gaveUp := 0
	for range 10 {
		s := open(t, one, "p")
		ctx := &lateCtx{Context: context.Background(), done: make(chan struct{}), ready: func() { time.Sleep(100 * time.Millisecond) }}
		taken, err := two.Attach(ctx, s.Token())
		if err == nil {
			closeSession(t, taken)
			continue
		}
		gaveUp++
	}
	time.Sleep(4 * time.Second)
	if st := c.pool(t, "p"); st.Free != 20 {
		t.Errorf("%d attaches were given up; 4 s later, with a lease of 1 s, %d of 20 slots are free", gaveUp, st.Free)
	}
}
