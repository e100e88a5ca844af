package tests

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// quiet drops the log of a part that is meant to be in trouble; LIMPET_TEST_LOG
// shows it.
func quiet() *slog.Logger {
	if os.Getenv("LIMPET_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// long bounds what must happen sooner or later.
const long = 30 * time.Second

// cell is one broker with its nodes, all in this process but over real
// sockets.
type cell struct {
	broker *broker.Server
	url    string
}

// newCell starts a broker that ends with the test.
func newCell(t testing.TB, o broker.Options) *cell {
	t.Helper()
	if o.Listen == "" {
		o.Listen = "tcp://127.0.0.1:*"
	}
	o.Logger = quiet()
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, b.Run)
	return &cell{broker: b, url: b.Endpoint()}
}

// run runs a blocking part until the test ends, or until stop is called, and
// waits for it.
func run(t testing.TB, part func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- part(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("ended with %v", err)
			}
		case <-time.After(long):
			t.Error("does not end")
		}
	})
	t.Cleanup(stop)
	return stop
}

// serve starts a node that ends with the test.
func (c *cell) serve(t testing.TB, o worker.Options, pools ...worker.Served) (stop func()) {
	t.Helper()
	o.Broker = c.url
	o.Logger = quiet()
	before := c.nodes(t)
	stop = run(t, func(ctx context.Context) error { return worker.Serve(ctx, o, pools...) })
	eventually(t, "the node is registered", func() bool { return c.nodes(t) > before })
	return stop
}

func (c *cell) nodes(t testing.TB) int {
	t.Helper()
	s, err := c.broker.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(s.Nodes)
}

// dial connects a client that ends with the test.
func (c *cell) dial(t testing.TB, opts ...client.Option) *client.Client {
	t.Helper()
	cl, err := client.Dial(t.Context(), c.url, append(opts, client.WithLogger(quiet()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cl.Close(); err != nil {
			t.Error(err)
		}
	})
	return cl
}

// eventually waits for something that has no event of its own.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(long)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond) // a poll, not an event
	}
}
