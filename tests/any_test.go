package tests

import (
	"context"
	"errors"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// A handler for any method gets those that have none of their own, with the
// argument as it travels; its error may say that its session's worker is gone.
func TestHandleAny(t *testing.T) {
	c := newCell(t, broker.Options{})
	p := worker.NewPool(worker.Config[int]{Pool: "any", Slots: 2})
	worker.Handle(p, "named", func(context.Context, int, any) (string, error) { return "its own", nil })
	worker.HandleAny(p, func(ctx context.Context, _ int, method string, arg worker.Body) (worker.Body, error) {
		switch method {
		case "echo":
			return arg, nil
		case "die":
			return worker.Body{}, &worker.DiedError{Text: "went overboard"}
		case "dead":
			return worker.Body{}, &worker.DiedError{Text: "was overboard", NotRun: true}
		case "leave":
			worker.SessionFrom(ctx).Died("left ship")
			return worker.Body{Bytes: []byte{0xc0}}, nil
		}
		return worker.Body{}, errors.New("no " + method)
	})
	c.serve(t, worker.Options{}, p)
	cl := c.dial(t)
	s := open(t, cl, "any")
	if got := mustCall[string](t, s, "named", 0); got != "its own" {
		t.Errorf("named: %q", got)
	}
	if got := mustCall[string](t, s, "echo", "word"); got != "word" {
		t.Errorf("a value came back as %q", got)
	}
	if got := mustCall[[]byte](t, s, "echo", []byte{1, 2}); string(got) != "\x01\x02" {
		t.Errorf("bytes came back as %q", got)
	}
	if _, err := call[any](t, s, "rum", 0); !errors.Is(err, session.ErrMethod) || !contains(err.Error(), "no rum") {
		t.Errorf("its error: %v", err)
	}
	for method, outcome := range map[string]session.Outcome{"die": session.Unknown, "dead": session.NotRun} {
		s := open(t, cl, "any")
		_, err := call[any](t, s, method, 0)
		e, ok := errors.AsType[*session.Error](err)
		if !ok || e.Code != session.ErrWorkerDied || e.Outcome != outcome || !contains(e.Text, "overboard") {
			t.Errorf("%s: %v, want worker died, %v", method, err, outcome)
		}
		if _, err := call[any](t, s, "echo", 1); !errors.Is(err, session.ErrWorkerDied) || !errors.Is(err, session.NotRun) {
			t.Errorf("after %s: %v, want worker died, not run", method, err)
		}
	}
	if _, err := call[any](t, s, "leave", 0); err != nil {
		t.Errorf("the call in which it was told: %v", err)
	}
	eventually(t, "the session is over", func() bool { return errors.Is(s.Err(), session.ErrWorkerDied) })
	eventually(t, "the slots are free", func() bool { return c.pool(t, "any").Free == 2 })
}

// Mistakes in a pool's methods are errors of Serve.
func TestAnyMethodIsNoName(t *testing.T) {
	handle := func(ctx context.Context, _ int, _ string, _ worker.Body) (worker.Body, error) {
		return worker.Body{}, ctx.Err()
	}
	named := worker.NewPool(worker.Config[int]{Pool: "any"})
	worker.Handle(named, "*", func(context.Context, int, any) (int, error) { return 0, nil })
	twice := worker.NewPool(worker.Config[int]{Pool: "any"})
	worker.HandleAny(twice, handle)
	worker.HandleAny(twice, handle)
	for want, p := range map[string]worker.Served{`and not "*"`: named, "two handlers for any method": twice} {
		if err := worker.Serve(t.Context(), worker.Options{Logger: quiet()}, p); err == nil || !contains(err.Error(), want) {
			t.Errorf("served with %v, want %s", err, want)
		}
	}
}
