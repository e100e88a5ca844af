package tests

import (
	"context"
	"sync"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// BenchmarkCalls is the relayed path with broker, node and client in one
// process: for profiles and allocations. What users get is measured over
// processes, in tests/bench.
func BenchmarkCalls(b *testing.B) {
	for _, bench := range []struct {
		name     string
		sessions int
	}{{"sessions=1", 1}, {"sessions=64", 64}, {"sessions=1024", 1024}} {
		b.Run(bench.name, func(b *testing.B) { calls(b, bench.sessions) })
	}
}

func calls(b *testing.B, sessions int) {
	c := newCell(b, broker.Options{})
	p := worker.NewPool(worker.Config[struct{}]{Pool: "echo", Slots: sessions})
	worker.Handle(p, "echo", func(_ context.Context, _ struct{}, arg []byte) ([]byte, error) { return arg, nil })
	c.serve(b, worker.Options{}, p)
	cl := c.dial(b)
	open := make([]*client.Session, sessions)
	for i := range open {
		s, err := cl.Open(b.Context(), "echo")
		if err != nil {
			b.Fatal(err)
		}
		open[i] = s
	}
	body := make([]byte, 64)
	b.ReportAllocs()
	b.ResetTimer()
	var all sync.WaitGroup
	for i, s := range open {
		n := b.N / sessions
		if i < b.N%sessions {
			n++
		}
		all.Go(func() {
			for range n {
				if _, err := client.Call[[]byte](b.Context(), s, "echo", body); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}
