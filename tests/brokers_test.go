package tests

import (
	"context"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// A session goes on through another broker when the one that opened it is
// gone, and also when that one comes back and knows nothing of the node.
func TestTwoBrokers(t *testing.T) {
	one, err := broker.New(broker.Options{Listen: "tcp://127.0.0.1:*", Recovery: time.Millisecond, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	stopOne := run(t, one.Run)
	two := newCell(t, broker.Options{})
	both := one.Endpoint() + "," + two.url
	run(t, func(ctx context.Context) error {
		return worker.Serve(ctx, worker.Options{Broker: both, Logger: quiet(), Beat: quickBeat, Misses: quickMisses}, counters("count", 2))
	})
	eventually(t, "the node is known to the second broker", func() bool { return two.nodes(t) == 1 })
	cl, err := client.Dial(t.Context(), both, client.WithRelayOnly(), client.WithLogger(quiet()), client.WithBeat(quickBeat, quickMisses))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cl.Close() }()
	var s *client.Session
	eventually(t, "a session", func() bool { s, err = cl.Open(t.Context(), "count"); return err == nil })
	if n, err := client.Call[int](t.Context(), s, "add", 1); err != nil || n != 1 {
		t.Fatalf("%d, %v", n, err)
	}
	stopOne()
	if n, err := client.Call[int](t.Context(), s, "add", 1); err != nil || n != 2 {
		t.Errorf("through the second broker: %d, %v", n, err)
	}
	again, err := broker.New(broker.Options{Listen: one.Endpoint(), Recovery: time.Millisecond, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	run(t, again.Run)
	for want := 3; want < 30; want++ {
		if n, err := client.Call[int](t.Context(), s, "add", 1); err != nil || n != want {
			t.Fatalf("beside the returned broker: %d, %v, want %d", n, err, want)
		}
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
