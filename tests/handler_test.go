package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// A handler whose own call was not run has run itself.
func TestErrorOfAHandlersOwnCall(t *testing.T) {
	c := newCell(t, broker.Options{})
	inner := c.dial(t)
	pool := worker.NewPool(worker.Config[struct{}]{Pool: "p", Slots: 3})
	worker.Handle(pool, "asks", func(ctx context.Context, _ struct{}, method string) (int, error) {
		_, err := client.Do[int](ctx, inner, "p", method, "no number")
		if !errors.Is(err, client.ErrNotRun) {
			t.Errorf("the handler's own call of %s ended with %v, want not run", method, err)
		}
		return 0, fmt.Errorf("ask: %w", err)
	})
	worker.Handle(pool, "add", func(_ context.Context, _ struct{}, n int) (int, error) { return n, nil })
	c.serve(t, worker.Options{}, pool)
	s := open(t, c.dial(t), "p")
	defer closeSession(t, s)
	for _, method := range []string{"nope", "add"} {
		_, err := client.Call[int](t.Context(), s, "asks", method)
		if !errors.Is(err, session.ErrMethod) || errors.Is(err, client.ErrNotRun) || errors.Is(err, client.ErrUnknown) {
			t.Errorf("%s: the call ended with %v, want the method's own error, done", method, err)
		}
	}
}

// A broadcast's result that is read is answered as one that is returned.
func TestBroadcastResultIsRead(t *testing.T) {
	c := newCell(t, broker.Options{})
	pool := worker.NewPool(worker.Config[struct{}]{Pool: "p", Slots: 1})
	worker.HandleCast(pool, "read", func(context.Context, any) (io.Reader, error) { return strings.NewReader("all of it"), nil })
	c.serve(t, worker.Options{}, pool)
	members := 0
	for a, err := range client.Broadcast[[]byte](t.Context(), c.dial(t), "p", "read", nil).Answers() {
		if members++; err != nil || string(a.Value) != "all of it" {
			t.Errorf("%q, %v", a.Value, err)
		}
	}
	if members != 1 {
		t.Errorf("%d members", members)
	}
}

// What a broadcast brings to a session is its handler's own, as a call's argument is.
func TestBroadcastArgumentIsTheHandlersOwn(t *testing.T) {
	c := newCell(t, broker.Options{})
	pool := worker.NewPool(worker.Config[struct{}]{Pool: "p", Slots: 3})
	worker.Handle(pool, "flip", func(_ context.Context, _ struct{}, b []byte) ([]byte, error) {
		for i := range b {
			b[i] ^= 0xff
		}
		return b, nil
	})
	c.serve(t, worker.Options{}, pool)
	cl := c.dial(t)
	for range 3 {
		defer closeSession(t, open(t, cl, "p"))
	}
	members := 0
	for a, err := range client.Broadcast[[]byte](t.Context(), cl, "p", "flip", []byte{1, 2, 3}, client.InSessions()).Answers() {
		if members++; err != nil || !bytes.Equal(a.Value, []byte{254, 253, 252}) {
			t.Errorf("%v, %v", a.Value, err)
		}
	}
	if members != 3 {
		t.Errorf("%d members", members)
	}
}

// A hook that beats may take longer than its budget, on each of its pages.
func TestHookBeatsOnEveryPage(t *testing.T) {
	c := newCell(t, broker.Options{})
	hooks := worker.NewHooks(worker.Config[struct{}]{Pool: "jobs", Budget: 500 * time.Millisecond})
	worker.OnScatter(hooks, func(ctx context.Context, _ struct{}, text string, emit func(string) error) error {
		for range 2 {
			for range 12 {
				time.Sleep(100 * time.Millisecond) // the work
				if err := worker.Beat(ctx); err != nil {
					t.Errorf("beat: %v", err)
				}
			}
			if err := emit(text); err != nil {
				return err
			}
		}
		return nil
	})
	c.serve(t, worker.Options{Debugger: "off"}, jobber("w", "jobs", 2), hooks)
	items := 0
	for item := range client.Job[string](t.Context(), c.dial(t), "jobs", "name", slices.Values([]string{"one"}), client.JobHooks()) {
		if items++; item.Err != nil {
			t.Errorf("%+v", item)
		}
	}
	if items != 2 {
		t.Errorf("%d items", items)
	}
}

// A job's state is closed also where its hook does not take its end well.
func TestHookPanicsAtItsEnd(t *testing.T) {
	c := newCell(t, broker.Options{})
	closed := make(chan bool, 1)
	hooks := worker.NewHooks(worker.Config[struct{}]{Pool: "jobs", Close: func(struct{}, error) { closed <- true }})
	worker.OnScatter(hooks, func(_ context.Context, _ struct{}, text string, emit func(string) error) error {
		for {
			if err := emit(text); err != nil {
				panic(err)
			}
		}
	})
	c.serve(t, worker.Options{Logger: quiet()}, jobber("w", "jobs", 2), hooks)
	for range client.Job[string](t.Context(), c.dial(t), "jobs", "name", slices.Values([]string{"one"}), client.JobHooks()) {
		break
	}
	await(t, closed, "the end of the job's state")
}
