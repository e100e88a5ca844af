package tests

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
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

// long bounds what must happen sooner or later, also on a machine that is slow and
// has much else to do.
const long = 2 * time.Minute

// noLeaks fails the test if goroutines are left once everything that it
// started has been stopped. It comes first in a test, so that it looks last.
func noLeaks(t testing.TB) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
}

// cell is one broker with its nodes, all in this process but over real
// sockets.
type cell struct {
	broker *broker.Server
	url    string
}

// newCell starts a broker that ends with the test, and watches for leaks.
func newCell(t testing.TB, o broker.Options) *cell {
	t.Helper()
	noLeaks(t)
	if o.Listen == "" {
		o.Listen = "tcp://127.0.0.1:*"
	}
	if o.Logger == nil {
		o.Logger = quiet()
	}
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
			t.Errorf("does not end:\n%s", stacks())
		}
	})
	t.Cleanup(stop)
	return stop
}

// serve starts a node that ends with the test.
func (c *cell) serve(t testing.TB, o worker.Options, pools ...worker.Served) (stop func()) {
	t.Helper()
	if o.Broker == "" {
		o.Broker = c.url
	}
	o.Logger = quiet()
	before := c.nodes(t)
	stop = run(t, func(ctx context.Context) error { return worker.Serve(ctx, o, pools...) })
	eventually(t, "the node is registered", func() bool { return c.nodes(t) > before })
	return stop
}

func (c *cell) nodes(t testing.TB) int {
	t.Helper()
	return len(c.status(t).Nodes)
}

func (c *cell) status(t testing.TB) core.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	s, err := c.broker.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// pool is one pool's line in the status.
func (c *cell) pool(t testing.TB, name string) core.PoolStatus {
	t.Helper()
	for _, p := range c.status(t).Pools {
		if p.Pool == name {
			return p
		}
	}
	return core.PoolStatus{}
}

// dial connects a client that ends with the test.
func (c *cell) dial(t testing.TB, opts ...client.Option) *client.Client {
	t.Helper()
	return dial(t, c.url, opts...)
}

func dial(t testing.TB, url string, opts ...client.Option) *client.Client {
	t.Helper()
	cl, err := client.Dial(t.Context(), url, append(opts, client.WithLogger(quiet()))...)
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

// open opens a session, which the client's end closes.
func open(t testing.TB, cl *client.Client, pool string, opts ...client.OpenOption) *client.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	s, err := cl.Open(ctx, pool, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// opening is an open that runs by itself.
type opening struct {
	queued chan int // places, as the broker says them
	done   chan opened
}

type opened struct {
	session *client.Session
	err     error
}

// openLater opens in the background; the result waits in done.
func openLater(ctx context.Context, cl *client.Client, pool string, opts ...client.OpenOption) *opening {
	o := &opening{queued: make(chan int, 100), done: make(chan opened, 1)}
	opts = append(opts, client.WithPlace(func(place int) {
		select {
		case o.queued <- place:
		default: // a test looks at the first few only
		}
	}))
	go func() {
		s, err := cl.Open(ctx, pool, opts...)
		o.done <- opened{s, err}
	}()
	return o
}

// call calls with a bound that only a hanging call reaches.
func call[R, A any](t testing.TB, s *client.Session, method string, arg A) (R, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	r, err := client.Call[R](ctx, s, method, arg)
	if ctx.Err() != nil {
		t.Fatalf("call of %s hangs:\n%s", method, stacks())
	}
	return r, err
}

func mustCall[R, A any](t testing.TB, s *client.Session, method string, arg A) R {
	t.Helper()
	r, err := call[R](t, s, method, arg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func closeSession(t testing.TB, s *client.Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

// await takes what must come from a channel.
func await[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v, ok := <-c:
		if !ok {
			t.Fatalf("ended before it came: %s", what)
		}
		return v
	case <-time.After(long):
		t.Fatalf("never came: %s\n%s", what, stacks())
		panic("unreachable")
	}
}

// lastWord makes a call that certainly does not run, until its end says so: a
// caller that gives up waits a quarter of a second for the last word on its call,
// and where the machine stands still just then, nobody knows.
func lastWord(do func() error) (err error) {
	for range 20 {
		if err = do(); !errors.Is(err, session.Unknown) {
			return err
		}
	}
	return err
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

func stacks() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}

func contains(s, part string) bool { return strings.Contains(s, part) }
