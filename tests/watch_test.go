package tests

import (
	"context"
	"errors"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// The end of a context that many calls share ends all of them, whoever made them,
// and reaches their handlers; calls under another context go on.
func TestCancelOfASharedContext(t *testing.T) {
	const sessions, many = 4, 50 // so many calls, that the context is watched
	c := newCell(t, broker.Options{})
	p := worker.NewPool(worker.Config[struct{}]{Pool: "shared", Slots: sessions + 1})
	began, ended := make(chan bool, sessions+1), make(chan error, sessions+1)
	let := make(chan bool)
	worker.Handle(p, "echo", func(_ context.Context, _ struct{}, arg []byte) ([]byte, error) { return arg, nil })
	worker.Handle(p, "block", func(ctx context.Context, _ struct{}, arg []byte) ([]byte, error) {
		began <- true
		select {
		case <-ctx.Done():
			ended <- context.Cause(ctx)
		case <-let:
		}
		return arg, ctx.Err()
	})
	c.serve(t, worker.Options{}, p)
	cl := c.dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	call := func(ctx context.Context, s *client.Session) error {
		for range many {
			if _, err := client.Call[[]byte](ctx, s, "echo", []byte("x")); err != nil {
				return err
			}
		}
		_, err := client.Call[[]byte](ctx, s, "block", []byte("x"))
		return err
	}
	errs, other := make(chan error, sessions), make(chan error, 1)
	for range sessions {
		s := open(t, cl, "shared")
		go func() { errs <- call(ctx, s) }()
	}
	apart := open(t, cl, "shared")
	go func() { other <- call(t.Context(), apart) }()
	for range sessions + 1 {
		await(t, began, "a call that blocks")
	}
	cancel()
	for range sessions {
		if err := await(t, errs, "the end of a call"); !errors.Is(err, session.ErrCancelled) || !errors.Is(err, context.Canceled) {
			t.Errorf("it ends with %v, want cancelled", err)
		}
		if err := await(t, ended, "the end of its handler"); err == nil {
			t.Error("its handler's context has no cause")
		}
	}
	close(let)
	if err := await(t, other, "the other call"); err != nil {
		t.Errorf("under another context: %v", err)
	}
}
