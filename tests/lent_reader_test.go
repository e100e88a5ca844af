package tests

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/worker"
)

// A reader of an argument that is read after its handler has returned brings nothing of
// what others are called with.
func TestReaderThatWasKept(t *testing.T) {
	c := newCell(t, broker.Options{})
	kept := make(chan io.Reader, 1)
	pool := worker.NewPool(worker.Config[struct{}]{Pool: "readers", Slots: 2})
	worker.Handle(pool, "keep", func(_ context.Context, _ struct{}, arg io.Reader) (int, error) { kept <- arg; return 0, nil })
	worker.Handle(pool, "lent", func(_ context.Context, _ struct{}, arg worker.Lent) (worker.Lent, error) { return arg, nil })
	c.serve(t, worker.Options{}, pool)
	cl := c.dial(t)
	s, other := open(t, cl, "readers"), open(t, cl, "readers")
	defer closeSession(t, s)
	defer closeSession(t, other)
	if err := s.Call(t.Context(), "keep", []byte("its own argument"), nil); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := other.AppendCall(t.Context(), nil, "lent", []byte("somebody's secret")); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := io.ReadAll(await(t, kept, "the reader")); bytes.Contains(got, []byte("secret")) || bytes.Contains(got, []byte("body's")) {
		t.Errorf("it reads %q, %v", got, err)
	}
}
