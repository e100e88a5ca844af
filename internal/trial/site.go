package trial

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"os/exec"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/client/front"
)

// long bounds what must happen sooner or later.
const long = 30 * time.Second

// Site is a program's workers as they are deployed: a broker and the HTTP front,
// in this process, with the file of routes, and workers in processes of their own.
type Site struct {
	Broker *broker.Server
	URL    string // of the front
}

// NewSite starts a broker, and a front with the routes of routes.toml as change
// leaves them.
func NewSite(t testing.TB, change func(*front.Routes)) *Site {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	b := Broker(t, broker.Options{Logger: quiet})
	c, err := client.Dial(t.Context(), b.Endpoint(), client.WithLogger(quiet))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	routes, err := front.ReadRoutes("routes.toml")
	if err != nil {
		t.Fatal(err)
	}
	change(routes)
	f, err := front.New(c, routes, quiet)
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(f)
	t.Cleanup(web.Close)
	return &Site{b, web.URL}
}

// Broker runs a broker until the test ends, at a free port.
func Broker(t testing.TB, o broker.Options) *broker.Server {
	t.Helper()
	o.Listen = "tcp://127.0.0.1:*"
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return b
}

// Serve begins a process of workers and waits until the broker knows it.
func (s *Site) Serve(t testing.TB, env ...string) *exec.Cmd {
	t.Helper()
	before := len(s.Status(t).Nodes)
	cmd := Begin(t, append(env, "LIMPET_BROKER="+s.Broker.Endpoint())...)
	s.Await(t, func(st core.Status) bool { return len(st.Nodes) > before })
	return cmd
}

// Status is the broker's.
func (s *Site) Status(t testing.TB) core.Status {
	t.Helper()
	st, err := s.Broker.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// Await waits until the broker's status is as it should be.
func (s *Site) Await(t testing.TB, ok func(core.Status) bool) {
	t.Helper()
	for end := time.Now().Add(long); !ok(s.Status(t)); time.Sleep(2 * time.Millisecond) { // a poll, not an event
		if time.Now().After(end) {
			t.Fatalf("the broker's status is not as it should be: %+v", s.Status(t))
		}
	}
}
