//go:build !race

package tests

import (
	"context"
	"runtime"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// A call of bytes costs less than one allocation in client, broker and node
// together: contexts are made eight at a time, a reply is written where one was
// that has been acknowledged, and arguments and results that are kept share pieces of
// 64 KiB. The race detector allocates by itself.
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

// AppendCall to a handler that takes Lent allocates no memory for what it sends and
// gets, in client, broker and node together, by either path.
func TestAppendCallAllocatesNoBody(t *testing.T) {
	const calls, size = 2000, 2 << 10
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, newLibrary().pool)
	for name, opts := range map[string][]client.Option{"direct": nil, "relayed": {client.WithRelayOnly()}} {
		t.Run(name, func(t *testing.T) {
			s := open(t, c.dial(t, opts...), "library")
			defer closeSession(t, s)
			arg, reply := make([]byte, size), make([]byte, 0, size)
			call := func() {
				var err error
				if reply, err = s.AppendCall(t.Context(), reply[:0], "lent", arg); err != nil || len(reply) != size {
					t.Fatalf("%d bytes, %v", len(reply), err)
				}
			}
			for range 100 { // buffers grow
				call()
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range calls {
				call()
			}
			runtime.ReadMemStats(&after)
			if got := (after.TotalAlloc - before.TotalAlloc) / calls; got > size/4 { // contexts, beats and ticks
				t.Errorf("%d bytes a call of %d", got, size)
			}
			if got := after.Mallocs - before.Mallocs; got > calls/2 { // likewise
				t.Errorf("%d allocations in %d calls", got, calls)
			}
		})
	}
}
