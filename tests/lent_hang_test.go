package tests

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// What is lent to a handler is his until he returns, also where nobody waits for him
// any more: his call has hung, its session has another holder, or its caller has left.
func TestLentUntilTheHandlerReturns(t *testing.T) {
	c := newCell(t, broker.Options{})
	began, leave, seen := make(chan struct{}), make(chan struct{}), make(chan []byte)
	pool := worker.NewPool(worker.Config[struct{}]{Pool: "slow", Slots: 4, Budget: -1})
	worker.Handle(pool, "wait", func(_ context.Context, _ struct{}, arg worker.Lent) (worker.Lent, error) {
		began <- struct{}{}
		<-leave
		seen <- bytes.Clone(arg)
		return arg, nil
	})
	worker.Handle(pool, "lent", func(_ context.Context, _ struct{}, arg worker.Lent) (worker.Lent, error) { return arg, nil })
	c.serve(t, worker.Options{}, pool)
	cl, other := c.dial(t), c.dial(t)
	want := bytes.Repeat([]byte("argument"), 50)
	for name, lose := range map[string]func(s *client.Session, p *client.Pending){
		"hung": func(_ *client.Session, p *client.Pending) {
			if err := p.Wait(nil); !errors.Is(err, client.ErrWorkerHung) {
				t.Error(err)
			}
		},
		"moved": func(s *client.Session, _ *client.Pending) {
			if _, err := other.Attach(t.Context(), s.Token()); err != nil {
				t.Error(err)
			}
		},
		"closed": func(s *client.Session, _ *client.Pending) { closeSession(t, s) },
	} {
		t.Run(name, func(t *testing.T) {
			s, next := open(t, cl, "slow"), open(t, cl, "slow")
			defer closeSession(t, next)
			var opts []client.CallOption
			if name == "hung" {
				opts = append(opts, client.WithBudget(500*time.Millisecond))
			}
			p := s.Go(t.Context(), "wait", want, opts...)
			await(t, began, "the call")
			lose(s, p)
			for i := range 300 {
				arg := bytes.Repeat([]byte{byte(i)}, len(want))
				if got, err := next.AppendCall(t.Context(), nil, "lent", arg); err != nil || !bytes.Equal(got, arg) {
					t.Fatalf("%.20q, %v", got, err)
				}
			}
			leave <- struct{}{}
			if got := await(t, seen, "the handler"); !bytes.Equal(got, want) {
				t.Errorf("its argument has become %.20q", got)
			}
		})
	}
}
