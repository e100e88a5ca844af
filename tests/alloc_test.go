//go:build !race

package tests

import (
	"context"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// A call of bytes costs less than one allocation in client, broker and node
// together: contexts are made eight at a time, a reply is written where one was
// that has been acknowledged, and what is received shares the memory of its frame,
// which is taken from pieces of 32 KiB. The race detector allocates by itself.
func TestCallAllocations(t *testing.T) {
	c := newCell(t, broker.Options{})
	p := worker.NewPool(worker.Config[struct{}]{Pool: "echo", Slots: 1})
	worker.Handle(p, "echo", func(_ context.Context, _ struct{}, arg []byte) ([]byte, error) { return arg, nil })
	c.serve(t, worker.Options{}, p)
	s, err := c.dial(t).Open(t.Context(), "echo")
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 64)
	call := func() {
		if _, err := client.Call[[]byte](t.Context(), s, "echo", body); err != nil {
			t.Error(err)
		}
	}
	for range 100 { // buffers grow
		call()
	}
	if got := testing.AllocsPerRun(2000, call); got > 1 { // beats and ticks are among them
		t.Errorf("%.1f allocations a call, want 0", got)
	}
}
