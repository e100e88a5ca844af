package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
	"go.opentelemetry.io/otel/trace"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/client/front"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// underSpan is a context in a span of its own: trace id n, span id n.
func underSpan(ctx context.Context, n byte) context.Context {
	return trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{n}, SpanID: trace.SpanID{n}, TraceFlags: trace.FlagsSampled,
	}))
}

// under is what a handler sees in that context, and untraced what it sees in none.
func under(n byte) string { return fmt.Sprintf("%02x%030d %02x%014d 01 remote", n, 0, n, 0) }

const untraced = "untraced"

// seen is the span that ctx belongs to.
func seen(ctx context.Context) string {
	is := trace.SpanContextFromContext(ctx)
	if !is.IsValid() {
		return untraced
	}
	s := fmt.Sprintf("%s %s %s", is.TraceID(), is.SpanID(), is.TraceFlags())
	if is.IsRemote() {
		s += " remote"
	}
	return s
}

// witness is a pool whose methods note the span under which they run.
type witness struct {
	pool *worker.Pool[struct{}]

	mu  sync.Mutex
	saw []string
}

func newWitness(t *testing.T, pool string, c *cell) *witness {
	t.Helper()
	w := &witness{pool: worker.NewPool(worker.Config[struct{}]{Pool: pool, Slots: 8})}
	note := func(ctx context.Context) string {
		s := seen(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		w.saw = append(w.saw, s)
		return s
	}
	see := func(ctx context.Context, _ struct{}, _ any) (string, error) { return note(ctx), nil }
	worker.Handle(w.pool, "see", see)
	worker.HandleCast(w.pool, "see", func(ctx context.Context, _ any) (string, error) { return see(ctx, struct{}{}, nil) })
	worker.Handle(w.pool, "read", func(ctx context.Context, _ struct{}, arg io.Reader) (string, error) {
		_, err := io.Copy(io.Discard, arg)
		return note(ctx), err
	})
	worker.HandleStream(w.pool, "write", func(ctx context.Context, _ struct{}, _ any, to io.Writer) error {
		_, err := io.WriteString(to, note(ctx))
		return err
	})
	worker.Handle(w.pool, "derived", func(ctx context.Context, _ struct{}, _ any) (string, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		return note(ctx), nil
	})
	// three stages: on, two branches, and where they meet
	worker.Handle(w.pool, "first", func(ctx context.Context, _ struct{}, _ any) (any, error) {
		note(ctx)
		return nil, worker.Next(pool, "second", 0)
	})
	worker.Handle(w.pool, "second", func(ctx context.Context, _ struct{}, _ any) (any, error) {
		note(ctx)
		return nil, worker.Fan(
			worker.Branch{Name: "left", Pool: pool, Method: "see"}, worker.Branch{Name: "right", Pool: pool, Method: "see"},
		).Join(pool, "join")
	})
	worker.Handle(w.pool, "join", func(ctx context.Context, _ struct{}, all map[string]string) (string, error) {
		note(ctx)
		return all["left"], nil
	})
	// a handler that calls another
	asked := make(chan *client.Client, 1)
	worker.Handle(w.pool, "ask", func(ctx context.Context, _ struct{}, _ any) (string, error) {
		cl := <-asked
		defer func() { asked <- cl }()
		return client.Do[string](ctx, cl, pool, "see", 0)
	})
	c.serve(t, worker.Options{}, w.pool)
	asked <- c.dial(t)
	return w
}

// all are the spans that were noted since it was asked last.
func (w *witness) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.saw
	w.saw = nil
	return all
}

// Whichever way a call is made and goes, its handler is in its caller's span;
// one without a span comes without one, also behind one that had one.
func TestTraceReachesTheHandler(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	w := newWitness(t, "w", c)
	cl := c.dial(t)
	relayed, near := open(t, c.dial(t, client.WithRelayOnly()), "w"), open(t, cl, "w")
	direct(t, near)
	call := func(s *client.Session, method string) func(context.Context) (string, error) {
		return func(ctx context.Context) (string, error) { return client.Call[string](ctx, s, method, 0) }
	}
	ways := map[string]func(context.Context) (string, error){
		"relayed":        call(relayed, "see"),
		"direct":         call(near, "see"),
		"derived":        call(near, "derived"),
		"from a handler": call(relayed, "ask"),
		"bytes": func(ctx context.Context) (string, error) {
			return client.Call[string](ctx, near, "see", []byte("bytes"))
		},
		"Do": func(ctx context.Context) (string, error) { return client.Do[string](ctx, cl, "w", "see", 0) },
		"Go": func(ctx context.Context) (s string, err error) {
			err = near.Go(ctx, "see", 0).Wait(&s)
			return s, err
		},
		"Client.Go": func(ctx context.Context) (s string, err error) {
			err = cl.Go(ctx, "w", "see", 0).Wait(&s)
			return s, err
		},
		"OpenCall": func(ctx context.Context) (string, error) {
			var s string
			own, err := cl.OpenCall(ctx, "w", "see", 0, &s)
			if own != nil {
				closeSession(t, own)
			}
			return s, err
		},
		"an argument in parts": func(ctx context.Context) (string, error) {
			return client.Call[string](ctx, near, "read", strings.NewReader("in parts"))
		},
		"a reply in parts": func(ctx context.Context) (string, error) {
			var b bytes.Buffer
			err := near.Call(ctx, "write", 0, &b)
			return b.String(), err
		},
		"a stream": func(ctx context.Context) (string, error) {
			r, err := near.Stream(ctx, "write", 0)
			if err != nil {
				return "", err
			}
			defer r.Close()
			b, err := io.ReadAll(r)
			return string(b), err
		},
		"Gather": func(ctx context.Context) (string, error) {
			var s string
			err := client.Gather(ctx, cl, client.NewPart("one", "w", "see", 0).Into(&s))
			return s, err
		},
		"a job": func(ctx context.Context) (s string, err error) {
			for item := range client.Job[string](ctx, cl, "w", "see", slices.Values([]int{1})) {
				s, err = item.Result, item.Err
			}
			return s, err
		},
		"a broadcast to nodes": func(ctx context.Context) (string, error) {
			return onlyAnswer(client.Broadcast[string](ctx, cl, "w", "see", 0))
		},
	}
	n := byte(0)
	for name, way := range ways {
		for _, traced := range []bool{true, false, true} {
			n++
			ctx, want := t.Context(), untraced
			if traced {
				ctx, want = underSpan(ctx, n), under(n)
			}
			if got, err := way(ctx); err != nil || got != want {
				t.Errorf("%s, traced %t: the handler is in %q, %v; want %q", name, traced, got, err, want)
			}
			if all := w.all(); len(all) != 1 || all[0] != want {
				t.Errorf("%s, traced %t: handlers were in %q, want %q", name, traced, all, want)
			}
		}
	}
	if got, err := onlyAnswer(client.Broadcast[string](underSpan(t.Context(), 99), cl, "w", "see", 0, client.InSessions())); err != nil || got != under(99) {
		t.Errorf("a broadcast to sessions: %q, %v", got, err)
	}
}

// onlyAnswer is what all members of a broadcast have answered.
func onlyAnswer(cast *client.Cast[string]) (got string, err error) {
	for a, one := range cast.Answers() {
		switch {
		case a.Fate == session.FateLeft: // a call's own session, which was just over
			continue
		case one != nil:
			err = one
		case got != "" && a.Value != got:
			err = fmt.Errorf("members answer %q and %q", got, a.Value)
		}
		got = a.Value
	}
	return got, err
}

// All stages of a pipeline are in the trace of the call that it continues, and
// their parent is its caller's span.
func TestTraceOfSteps(t *testing.T) {
	c := newCell(t, broker.Options{})
	w := newWitness(t, "w", c)
	cl := c.dial(t)
	s := open(t, cl, "w")
	ways := []func(context.Context) (string, error){
		func(ctx context.Context) (string, error) { return client.Do[string](ctx, cl, "w", "first", 0) },
		func(ctx context.Context) (string, error) { return client.Call[string](ctx, s, "first", 0) },
		func(ctx context.Context) (got string, err error) {
			err = s.Go(ctx, "first", 0).Wait(&got)
			return got, err
		},
	}
	for i, way := range ways {
		for _, want := range []string{under(byte(i + 1)), untraced} {
			ctx := t.Context()
			if want != untraced {
				ctx = underSpan(ctx, byte(i+1))
			}
			if got, err := way(ctx); err != nil || got != want {
				t.Errorf("way %d: a branch is in %q, %v; want %q", i, got, err, want)
			}
			if all := w.all(); len(all) != 5 || slices.ContainsFunc(all, func(s string) bool { return s != want }) {
				t.Errorf("way %d: the stages are in %q, want %q five times", i, all, want)
			}
		}
	}
}

// A trace context that is none is ignored, one that is cut short refused, and
// neither costs its sender the session; the broker takes no field of another size.
func TestForgedTraces(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	newWitness(t, "w", c)
	s := connectStranger(t, c.url)
	h := holderOf(s.openRaw("w"))
	h.Flags = wire.FlagTrace
	for i, forged := range []wire.Trace{{}, {0: 1}, {16: 1, 24: 1}, {24: 255}} {
		h.Number, h.Ack, h.Trace = uint64(i+1), uint64(i), forged
		s.send(frame(callMessage(h, "see", 1)))
		var got string
		if _, body := s.hearHeader(wire.KindReply); msgpack.Unmarshal(body, &got) != nil || got != untraced {
			t.Errorf("%x: the handler is in %q", forged, got)
		}
	}
	h.Number, h.Ack, h.Trace = 5, 4, wire.Trace{1, 16: 1, 24: 0xff}
	whole := callMessage(h, "see", 1)
	for _, size := range []int{0, 1, wire.TraceSize - 1} {
		s.send(frame(whole[:wire.HeaderSize+size]))
		if a, body := s.hearHeader(wire.KindFail); a.Code != session.ErrBadMessage || a.Number != 5 || a.Outcome() != session.NotRun ||
			!contains(wire.ParseFailure(body).Text, "trace context") {
			t.Errorf("cut to %d bytes: %v of call %d, %v, %q", size, a.Code, a.Number, a.Outcome(), wire.ParseFailure(body).Text)
		}
	}
	s.send(frame(whole))
	var got string
	want := strings.Replace(under(1), " 01 ", " 03 ", 1) // flags that nobody knows are not taken over
	if _, body := s.hearHeader(wire.KindReply); msgpack.Unmarshal(body, &got) != nil || got != want {
		t.Errorf("whole again: the handler is in %q, want %q", got, want)
	}
	for _, m := range []wire.Control{
		&wire.Open{Client: [16]byte{1}, Request: [16]byte{2}, Pool: "w", Trace: []byte("short")},
		&wire.Broadcast{Client: [16]byte{1}, Request: [16]byte{2}, Pool: "w", Method: "see", Trace: make([]byte, 100)},
	} {
		s.tell(m)
		if e := hearControl[*wire.Error](s); e.Code != session.ErrBadMessage || e.Of != m.Kind() || !contains(e.Text, "trace") {
			t.Errorf("%s: %v of %v, %q", m.Kind(), e.Code, e.Of, e.Text)
		}
	}
}

// A request's traceparent becomes its call's; what is none is ignored.
func TestFrontTakesTraceparent(t *testing.T) {
	c := newCell(t, broker.Options{})
	newWitness(t, "w", c)
	s := site(t, c.dial(t), `
[[route]]
path = "/see"
pool = "w"
method = "see"
[[route]]
path = "/steps"
pool = "w"
method = "first"
`)
	const id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for header, want := range map[string]string{
		"00-" + id + "-" + parent + "-01":                    id + " " + parent + " 01 remote",
		"00-" + id + "-" + parent + "-00":                    id + " " + parent + " 00 remote",
		"cc-" + id + "-" + parent + "-01-of another version": id + " " + parent + " 01 remote",
		"":                                     untraced,
		"ff-" + id + "-" + parent + "-01":      untraced,
		"00-" + id + "-" + parent + "-01-more": untraced,
		"00-" + strings.ToUpper(id) + "-" + parent + "-01":     untraced,
		"00-" + strings.Repeat("0", 32) + "-" + parent + "-01": untraced,
		"00-" + id + "-" + strings.Repeat("0", 16) + "-01":     untraced,
		"00-" + id[1:] + "-" + parent + "-01":                  untraced,
		"00-" + id + "-" + parent:                              untraced,
		"\u00fc":                                               untraced,
		"twice 00-" + id + "-" + parent + "-01":                untraced,
	} {
		for _, path := range []string{"/see", "/steps"} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			value, twice := strings.CutPrefix(header, "twice ")
			if value != "" {
				r.Header.Add("Traceparent", value)
			}
			if twice {
				r.Header.Add("Traceparent", value)
			}
			a, err := s.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(a.Body)
			a.Body.Close()
			if err != nil || a.StatusCode != http.StatusOK || strings.TrimSpace(string(body)) != `"`+want+`"` {
				t.Errorf("%s, traceparent %q: %s %s, %v; want %q", path, header, a.Status, body, err, want)
			}
		}
	}
}

// Whoever wraps the front and has made a span of the request's has the last word.
func TestFrontKeepsTheSpanOfItsWrapper(t *testing.T) {
	c := newCell(t, broker.Options{})
	newWitness(t, "w", c)
	routes, err := front.ParseRoutes([]byte("[[route]]\npath = \"/see\"\npool = \"w\"\nmethod = \"see\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := front.New(c.dial(t), routes, quiet())
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(underSpan(t.Context(), 7), http.MethodGet, "/see", nil)
	r.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	a := httptest.NewRecorder()
	f.ServeHTTP(a, r)
	if got := strings.TrimSpace(a.Body.String()); got != `"`+under(7)+`"` {
		t.Errorf("%d, %s", a.Code, got)
	}
	if err := f.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// Whoever looks into a call that hangs is told its trace.
func TestTraceOfAHungCall(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	h := newSloth(1, false, time.Minute)
	c.serve(t, worker.Options{}, h.pool)
	defer close(h.gate)
	s := open(t, c.dial(t), "sloth")
	const id = "09000000000000000000000000000000"
	_, err := client.Call[int](underSpan(t.Context(), 9), s, "wait", 0, client.WithBudget(50*time.Millisecond))
	if !errors.Is(err, client.ErrWorkerHung) || !contains(err.Error(), "in trace "+id) {
		t.Errorf("it ended with %v", err)
	}
	eventually(t, "its autopsy", func() bool {
		all := c.inspect(t, s.ID()).Autopsies
		return len(all) == 1 && all[0].Trace == id
	})
}
