package admin_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/broker/admin"
	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/internal/zmqio"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// start runs a part until the test ends.
func start(t *testing.T, part func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- part(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func newBroker(t *testing.T, recovery time.Duration) *broker.Server {
	t.Helper()
	b, err := broker.New(broker.Options{Listen: "tcp://127.0.0.1:*", Name: "rock", Recovery: recovery, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	start(t, b.Run)
	return b
}

func get(t *testing.T, h http.Handler, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, http.NoBody))
	return w.Code, w.Body.String()
}

// counter is a pool with a session for everybody.
func counter() *worker.Pool[int] {
	p := worker.NewPool(worker.Config[int]{Pool: "counter", Slots: 3})
	worker.Handle(p, "add", func(_ context.Context, _, n int) (int, error) { return n, nil })
	return p
}

// busy is a broker with one open session.
func busy(t *testing.T) *broker.Server {
	t.Helper()
	b := newBroker(t, time.Millisecond)
	start(t, func(ctx context.Context) error {
		return worker.Serve(ctx, worker.Options{Broker: b.Endpoint(), Name: "shell", Logger: quiet()}, counter())
	})
	for {
		st, err := b.Summary(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(st.Nodes) == 1 && st.Nodes[0].Name != "" {
			break
		}
		time.Sleep(time.Millisecond) // a poll, not an event
	}
	c, err := client.Dial(t.Context(), b.Endpoint(), client.WithLogger(quiet()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := c.Open(t.Context(), "counter"); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadyOnceRecovered(t *testing.T) {
	pages := admin.NewPages(newBroker(t, time.Hour))
	if code, body := get(t, pages, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "recovering") {
		t.Errorf("while recovering: %d %s", code, body)
	}
	if code, body := get(t, pages, "/healthz"); code != http.StatusOK || !strings.Contains(body, `"ok"`) {
		t.Errorf("healthz while recovering: %d %s", code, body)
	}
	pages = admin.NewPages(busy(t))
	if code, body := get(t, pages, "/readyz"); code != http.StatusOK || !strings.Contains(body, `"ok"`) {
		t.Errorf("recovered: %d %s", code, body)
	}
}

// TestStatus is the field names that others rely on.
func TestStatus(t *testing.T) {
	code, body := get(t, admin.NewPages(busy(t)), "/v1/status")
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	var st struct {
		Name     string           `json:"name"`
		Pools    []map[string]any `json:"pools"`
		Nodes    []map[string]any `json:"nodes"`
		Sessions []map[string]any `json:"sessions"`
		Queue    []map[string]any `json:"queue"`
		Casts    []map[string]any `json:"casts"`
		Lost     []map[string]any `json:"lost"`
	}
	if err := json.Unmarshal([]byte(body), &st); err != nil {
		t.Fatal(err)
	}
	if st.Name != "rock" || len(st.Pools) != 1 || len(st.Nodes) != 1 || len(st.Sessions) != 1 || st.Queue == nil || st.Casts == nil || st.Lost == nil {
		t.Fatalf("%s", body)
	}
	for _, want := range []struct {
		in    map[string]any
		names []string
	}{
		{st.Pools[0], []string{"pool", "nodes", "slots", "free", "offered", "open", "waiting", "queue_room", "longest_wait_seconds"}},
		{st.Nodes[0], []string{
			"node", "name", "host", "pid", "state", "silent_seconds",
			"joined_seconds", "pools", "slots", "open", "offered", "loop_late_seconds",
		}},
		{st.Sessions[0], []string{"session", "pool", "node", "node_name", "worker", "incarnation", "epoch", "client", "age_seconds"}},
	} {
		for _, name := range want.names {
			if _, has := want.in[name]; !has {
				t.Errorf("no field %q in %v", name, want.in)
			}
		}
	}
	if st.Pools[0]["open"] != 1.0 || st.Pools[0]["free"] != 2.0 || st.Nodes[0]["state"] != "alive" {
		t.Errorf("%s", body)
	}
}

func TestMetrics(t *testing.T) {
	b := busy(t)
	pages := admin.NewPages(b)
	code, body := get(t, pages, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	for _, line := range []string{
		"limpet_loop_ok 1", "limpet_recovering 0", "limpet_clients 1", `limpet_sessions{pool="counter"} 1`,
		`limpet_slots{pool="counter",state="free"} 2`, `limpet_slots{pool="counter",state="open"} 1`, `limpet_slots_capacity{pool="counter"} 3`,
		`limpet_queue_length{pool="counter"} 0`, `limpet_nodes{state="alive"} 1`, `limpet_nodes{state="cut_off"} 0`, "limpet_opens_total 1",
		"limpet_nodes_lost_total 0",
	} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("/metrics lacks %q", line)
		}
	}
	problems, err := promlint.New(strings.NewReader(body)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	served := map[string]bool{}
	for line := range strings.SplitSeq(body, "\n") {
		if rest, ok := strings.CutPrefix(line, "# HELP "); ok {
			name, _, _ := strings.Cut(rest, " ")
			served[name] = true
		}
	}
	for _, m := range admin.Metrics() {
		if !served[m.Name] && m.Name != "limpet_bad_messages_total" { // nothing bad has come
			t.Errorf("%s is described and not served", m.Name)
		}
		if m.Help == "" || !strings.HasPrefix(m.Name, "limpet_") {
			t.Errorf("%s: %q", m.Name, m.Help)
		}
	}
}

func TestNothingElse(t *testing.T) {
	pages := admin.NewPages(newBroker(t, time.Hour))
	for _, test := range []struct {
		method, path, body string
		want               int
	}{
		{http.MethodGet, "/", "", http.StatusNotFound},
		{http.MethodGet, "/v1/status/", "", http.StatusNotFound},
		{http.MethodGet, "//healthz", "", http.StatusNotFound},
		{http.MethodGet, "/debug/pprof/", "", http.StatusNotFound},
		{http.MethodPost, "/v1/status", "", http.StatusMethodNotAllowed},
		{http.MethodDelete, "/healthz", "", http.StatusMethodNotAllowed},
		{http.MethodGet, "/v1/drain", "", http.StatusMethodNotAllowed},
		{http.MethodPost, "/v1/drain", "", http.StatusForbidden},
		{http.MethodGet, "/healthz", "a body", http.StatusRequestEntityTooLarge},
		{http.MethodHead, "/healthz", "", http.StatusOK},
	} {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(test.method, "http://limpet/", strings.NewReader(test.body))
		r.URL.Path = test.path
		pages.ServeHTTP(w, r)
		var said map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &said); err != nil {
			t.Errorf("%s %s: no JSON: %s", test.method, test.path, w.Body)
		}
		if w.Code != test.want || (test.want >= 400) != (said["error"] != nil) {
			t.Errorf("%s %s: %d %s, want %d", test.method, test.path, w.Code, w.Body, test.want)
		}
	}
}

// stuck is a broker whose loop stands until it is released.
type stuck struct {
	asked   atomic.Int32
	release chan struct{}
}

func (s *stuck) Status(ctx context.Context) (core.Status, error) { return s.Summary(ctx) }

func (s *stuck) Summary(context.Context) (core.Status, error) {
	s.asked.Add(1)
	<-s.release
	return core.Status{}, nil
}

func (s *stuck) Traffic() zmqio.Stats { return zmqio.Stats{FramesIn: 7} }

// TestLoopStands is many who ask a broker whose loop does not come round: each
// is told so within the bound, and the loop is asked once.
func TestLoopStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &stuck{release: make(chan struct{})}
		pages := admin.NewPages(b)
		began := time.Now()
		var all sync.WaitGroup
		for range 30 {
			for _, path := range []string{"/healthz", "/readyz"} {
				all.Go(func() {
					if code, body := get(t, pages, path); code != http.StatusServiceUnavailable || !strings.Contains(body, "come round") {
						t.Errorf("%s: %d %s", path, code, body)
					}
				})
			}
		}
		all.Wait()
		if took := time.Since(began); took != admin.LoopBound {
			t.Errorf("told after %s, want %s", took, admin.LoopBound)
		}
		if _, body := get(t, pages, "/metrics"); !strings.Contains(body, "\nlimpet_loop_ok 0\n") ||
			!strings.Contains(body, `limpet_frames_total{direction="in"} 7`) {
			t.Errorf("metrics: %s", body)
		}
		if n := b.asked.Load(); n != 1 {
			t.Errorf("the loop was asked %d times, want once", n)
		}
		close(b.release)
		synctest.Wait()
		if code, body := get(t, pages, "/healthz"); code != http.StatusOK {
			t.Errorf("when it comes round again: %d %s", code, body)
		}
	})
}

// TestTooMany is more requests at once than are answered.
func TestTooMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &stuck{release: make(chan struct{})}
		pages := admin.NewPages(b)
		var all sync.WaitGroup
		var turnedAway atomic.Int32
		for range 100 {
			all.Go(func() {
				if _, body := get(t, pages, "/v1/status"); strings.Contains(body, "too many") {
					turnedAway.Add(1)
				}
			})
		}
		synctest.Wait()
		if n := turnedAway.Load(); n != 36 {
			t.Errorf("%d of 100 were turned away, want 36", n)
		}
		close(b.release)
		all.Wait()
	})
}

func TestServer(t *testing.T) {
	pages := admin.NewPages(newBroker(t, time.Hour))
	s, err := admin.Listen("127.0.0.1:0", pages, quiet())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Listen(s.Address(), pages, quiet()); err == nil || !strings.Contains(err.Error(), s.Address()+": the port is in use") {
		t.Errorf("the same port again: %v", err)
	}
	start(t, s.Run)
	r, err := http.Get("http://" + s.Address() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Errorf("%s", r.Status)
	}
	for _, bad := range []string{
		"\x16\x03\x01\x02\x00\x01\x00", "nonsense\r\n\r\n",
		"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
	} {
		badRequest(t, s.Address(), bad)
	}
}

// badRequest sends what is no request and wants to be told so.
func badRequest(t *testing.T, address, bad string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, bad+"\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%.20q: %v", bad, err)
	}
	defer r.Body.Close()
	if !slices.Contains([]int{http.StatusBadRequest, http.StatusRequestHeaderFieldsTooLarge}, r.StatusCode) {
		t.Errorf("%.20q: %s", bad, r.Status)
	}
}

// idle is a broker that is always the same.
type idle struct{ is core.Status }

func (i idle) Status(context.Context) (core.Status, error)  { return i.is, nil }
func (i idle) Summary(context.Context) (core.Status, error) { return i.is, nil }
func (i idle) Traffic() zmqio.Stats                         { return zmqio.Stats{} }

// TestBadMessagesByCode is what hostile peers are counted as.
func TestBadMessagesByCode(t *testing.T) {
	st := core.Status{Counts: core.Counts{Bad: map[session.Code]uint64{session.ErrVersion: 2, session.ErrBadMessage: 3}}}
	_, body := get(t, admin.NewPages(idle{st}), "/metrics")
	for _, line := range []string{`limpet_bad_messages_total{code="bad message"} 3`, `limpet_bad_messages_total{code="no protocol version in common"} 2`} {
		if !strings.Contains(body, "\n"+line+"\n") {
			t.Errorf("/metrics lacks %q", line)
		}
	}
}
