package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/limpet-rpc/limpet/client"
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
const long = 2 * time.Minute

// noLeaks fails the test if goroutines are left once everything that it
// started has been stopped. It comes first in a test, so that it looks last.
func noLeaks(t testing.TB) {
	t.Helper()
	before := append([]goleak.Option{goleak.IgnoreCurrent()}, ofTheProxy...)
	t.Cleanup(func() { goleak.VerifyNone(t, before...) })
}

// cell is a broker process that can be killed and started again on its port,
// and its node processes.
type cell struct {
	t       testing.TB
	broker  *child
	url     string
	records string // the machine's start records
	env     []string
}

// newCell starts a broker with these settings, and watches for leaks.
func newCell(t testing.TB, env ...string) *cell {
	t.Helper()
	noLeaks(t)
	c := &cell{t: t, records: t.TempDir()}
	c.env = append([]string{"RECORDS=" + c.records}, env...)
	c.broker = start(t, "broker", append(c.env, "LISTEN=tcp://127.0.0.1:*")...)
	c.url = c.broker.says("listens")
	return c
}

// startBroker starts it again where it was.
func (c *cell) startBroker() {
	c.t.Helper()
	c.broker = start(c.t, "broker", append(c.env, "LISTEN="+c.url)...)
	c.broker.says("listens")
}

// startNode starts a node of that name and waits until the broker knows it.
func (c *cell) startNode(name, pools string, slots int, env ...string) *child {
	c.t.Helper()
	all := append([]string{
		"BROKER=" + c.url, "NAME=" + name, "POOLS=" + pools, fmt.Sprint("SLOTS=", slots), "RECORDS=" + c.records,
	}, env...)
	n := start(c.t, "node", all...)
	eventually(c.t, name+" is registered", func() bool { n.lives(); return c.knows(name) })
	return n
}

var errWrongCount = errors.New("a counter is not where it should be")

func (c *cell) knows(name string) bool {
	c.t.Helper()
	for _, n := range c.broker.report().Status.Nodes {
		if n.Name == name && n.State != "cut off" {
			return true
		}
	}
	return false
}

// dial connects a client that ends with the test.
// It relays, for what is cut here are the lines to the broker.
func dial(t testing.TB, url string, opts ...client.Option) *client.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	cl, err := client.Dial(ctx, url, append(opts, client.WithRelayOnly(), client.WithLogger(quiet()))...)
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

// call calls with a bound that only a hanging call reaches.
func call[R, A any](s *client.Session, method string, arg A) (R, error) {
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	return client.Call[R](ctx, s, method, arg)
}

func mustCall[R, A any](t testing.TB, s *client.Session, method string, arg A) R {
	t.Helper()
	r, err := call[R](s, method, arg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func closeSession(s *client.Session) error {
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	return s.Close(ctx)
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

// eventually waits for something that has no event of its own, and returns how
// long that took.
func eventually(t testing.TB, what string, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > long {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond) // a poll, not an event
	}
	return time.Since(began)
}

func stacks() []byte {
	buf := make([]byte, 1<<20)
	return buf[:runtime.Stack(buf, true)]
}

// resident is a process's resident memory in bytes.
func resident(t testing.TB, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Skip("no /proc to look into: ", err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	var kib int
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// hostOf is an endpoint as package net writes it.
func hostOf(t testing.TB, url string) string {
	t.Helper()
	host := strings.TrimPrefix(url, "tcp://")
	if _, _, err := net.SplitHostPort(host); err != nil {
		t.Fatal(err)
	}
	return host
}
