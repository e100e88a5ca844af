package tests

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// direct waits until a session's calls go straight to its node.
func direct(t *testing.T, s *client.Session) {
	t.Helper()
	eventually(t, "the direct path is up", s.Direct)
}

// add increments a session's counter and wants the new total.
func add(t *testing.T, s *client.Session, want int) {
	t.Helper()
	if n, err := client.Call[int](t.Context(), s, "add", 1); err != nil || n != want {
		t.Fatalf("add: %d, %v; want %d", n, err, want)
	}
}

func TestCallsGoDirect(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, counters("a", 4))
	cl := c.dial(t)
	s, err := cl.Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	count, before := 0, uint64(0)
	for range 20 { // a call that is not answered for a second goes by the relay too
		direct(t, s)
		before = c.status(t).Counts.Relayed
		for range 100 {
			count++
			add(t, s, count)
		}
		if c.status(t).Counts.Relayed == before {
			break
		}
	}
	if relayed := c.status(t).Counts.Relayed - before; relayed != 0 {
		t.Errorf("the broker has passed on %d messages of sessions that have a direct path", relayed)
	}
	relayed, err := c.dial(t, client.WithRelayOnly()).Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	add(t, relayed, 1)
	if relayed.Direct() || c.status(t).Counts.Relayed == before {
		t.Error("WithRelayOnly does not relay")
	}
}

func TestNodeWithoutDirectPath(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{Direct: "off"}, counters("a", 1))
	s, err := c.dial(t).Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	add(t, s, 1)
	if at := s.Route().Endpoint; at != "" || s.Direct() {
		t.Errorf("a node without one has the direct endpoint %q", at)
	}
}

// What a node says of where it is reached need not be so.
func TestDirectEndpointIsALie(t *testing.T) {
	other := newCell(t, broker.Options{})
	other.serve(t, worker.Options{Direct: "tcp://127.0.0.1:*"}, counters("other", 1))
	foreign, err := other.dial(t).Open(t.Context(), "other")
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never says a word
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, endpoint := range map[string]string{
		"another node":  foreign.Route().Endpoint,
		"a web server":  "tcp://" + strings.TrimPrefix(web.URL, "http://"),
		"a black hole":  "tcp://" + silent.Addr().String(),
		"a closed port": "tcp://" + closed.Addr().String(),
		"no endpoint":   "gopher://under the sea",
		"no such name":  "tcp://no-such-host.invalid:1",
	} {
		t.Run(name, func(t *testing.T) {
			c := newCell(t, broker.Options{})
			c.serve(t, worker.Options{Advertise: endpoint}, counters("a", 1))
			s, err := c.dial(t).Open(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			for i := range 200 {
				add(t, s, i+1)
			}
			if s.Direct() {
				t.Errorf("calls go straight to %s", endpoint)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	add(t, foreign, 1) // it has not noticed
}

func TestDirectEndpointThatCannotBe(t *testing.T) {
	for _, o := range []worker.Options{{Direct: "tcp://0.0.0.0:*"}, {Direct: "tcp://192.0.2.1:1"}, {Direct: "nonsense"}} {
		o.Logger = quiet()
		if err := worker.Serve(t.Context(), o, counters("a", 1)); err == nil || !strings.Contains(err.Error(), o.Direct) {
			t.Errorf("%s: %v", o.Direct, err)
		}
	}
}

// strait is a way through which TCP connections pass that can be cut, and
// stopped.
type strait struct {
	listener net.Listener
	to       string

	mu      sync.Mutex
	stopped bool
	passing map[net.Conn]bool
}

func newStrait(t *testing.T, to string) *strait {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &strait{listener: l, to: to, passing: map[net.Conn]bool{}}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", s.to)
			if err != nil {
				in.Close()
				continue
			}
			s.mu.Lock()
			s.passing[in], s.passing[out] = true, true
			s.mu.Unlock()
			all.Go(func() { s.pass(in, out) })
			all.Go(func() { s.pass(out, in) })
		}
	})
	t.Cleanup(func() { l.Close(); s.stop(false); s.cut(); all.Wait() })
	return s
}

func (s *strait) pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		for s.isStopped() {
			time.Sleep(time.Millisecond) // a poll, not an event
		}
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (s *strait) isStopped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopped
}

// stop holds back what passes.
func (s *strait) stop(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = yes
}

// cut breaks every connection.
func (s *strait) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.passing {
		c.Close()
	}
	clear(s.passing)
}

func (s *strait) endpoint() string { return "tcp://" + s.listener.Addr().String() }

// Counters are incremented while the direct path is cut, cut and stopped again
// and again: every counter ends at exactly what was acknowledged, and nothing is
// of unknown outcome.
func TestDirectPathBreaks(t *testing.T) {
	c := newCell(t, broker.Options{})
	at := freePort(t)
	way := newStrait(t, strings.TrimPrefix(at, "tcp://"))
	c.serve(t, worker.Options{Direct: at, Advertise: way.endpoint()}, counters("a", 8))
	cl := c.dial(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	for range 8 {
		s, err := cl.Open(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		direct(t, s)
		all.Go(func() {
			for want := 1; ctx.Err() == nil; want++ {
				if n, err := client.Call[int](t.Context(), s, "add", 1); err != nil || n != want {
					t.Errorf("add: %d, %v; want %d", n, err, want)
					return
				}
			}
			if err := s.Close(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	for range 10 {
		way.cut()
		time.Sleep(50 * time.Millisecond) // for calls to go by
	}
	way.stop(true)
	relayed := c.status(t).Counts.Relayed
	eventually(t, "calls go by the broker again", func() bool { return c.status(t).Counts.Relayed > relayed+100 })
	way.cut()
	way.stop(false)
	cancel()
	all.Wait()
	last, err := cl.Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	direct(t, last)
	add(t, last, 1)
}
