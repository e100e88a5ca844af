package tests

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// spans keeps what its tracer made.
type spans struct {
	embedded.TracerProvider

	mu   sync.Mutex
	made []*kept
}

// kept is one span.
type kept struct {
	noop.Span
	of     *spans
	name   string
	kind   trace.SpanKind
	is     trace.SpanContext
	parent trace.SpanContext
	attrs  map[attribute.Key]string
	status codes.Code
	ends   int
}

// maker is its tracer.
type maker struct {
	embedded.Tracer
	*spans
}

func (s *spans) Tracer(string, ...trace.TracerOption) trace.Tracer { return maker{spans: s} }

func (s maker) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := trace.NewSpanStartConfig(opts...)
	k := &kept{of: s.spans, name: name, kind: c.SpanKind(), parent: trace.SpanContextFromContext(ctx), attrs: map[attribute.Key]string{}}
	for _, a := range c.Attributes() {
		k.attrs[a.Key] = a.Value.AsString()
	}
	n := byte(len(s.made) + 1)
	is := trace.SpanContextConfig{TraceID: k.parent.TraceID(), SpanID: trace.SpanID{7: n}, TraceFlags: trace.FlagsSampled}
	if !k.parent.IsValid() {
		is.TraceID = trace.TraceID{15: n}
	}
	k.is = trace.NewSpanContext(is)
	s.made = append(s.made, k)
	return trace.ContextWithSpan(ctx, k), k
}

func (k *kept) SpanContext() trace.SpanContext { return k.is }

func (k *kept) SetStatus(c codes.Code, _ string) {
	k.of.mu.Lock()
	defer k.of.mu.Unlock()
	k.status = c
}

func (k *kept) SetAttributes(all ...attribute.KeyValue) {
	k.of.mu.Lock()
	defer k.of.mu.Unlock()
	for _, a := range all {
		k.attrs[a.Key] = a.Value.AsString()
	}
}

func (k *kept) End(...trace.SpanEndOption) {
	k.of.mu.Lock()
	defer k.of.mu.Unlock()
	k.ends++
}

// tree waits until all spans have ended, forgets them, and is each with those
// below it: "name(below ...)", kinds and errors marked.
func (s *spans) tree(t *testing.T) string {
	t.Helper()
	eventually(t, "all spans have ended", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return !slices.ContainsFunc(s.made, func(k *kept) bool { return k.ends == 0 })
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	var below func(parent trace.SpanContext) string
	below = func(parent trace.SpanContext) string {
		var all []string
		for _, k := range s.made {
			if k.parent.SpanID() != parent.SpanID() || k.parent.TraceID() != parent.TraceID() {
				continue
			}
			text := strings.TrimPrefix(k.name, "w/")
			if k.kind == trace.SpanKindClient {
				text = "*" + text
			}
			if k.status == codes.Error {
				text += fmt.Sprintf("![%s]", strings.TrimSpace(k.attrs["error.type"]+" "+k.attrs["limpet.outcome"]))
			}
			if k.attrs["rpc.system.name"] != "limpet" || k.attrs["rpc.method"] != k.name {
				text += fmt.Sprint(k.attrs)
			}
			if inner := below(k.is); inner != "" {
				text += "(" + inner + ")"
			}
			all = append(all, text)
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	text := below(trace.SpanContext{})
	s.made = nil
	return text
}

// With a tracer every call is a span of the client's, every step one below it,
// and every run one of the node's, below that of whoever asked for it.
func TestTracersSpans(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	s := new(spans)
	p := worker.NewPool(worker.Config[struct{}]{Pool: "w", Slots: 8})
	worker.Handle(p, "echo", func(_ context.Context, _ struct{}, b []byte) ([]byte, error) { return b, nil })
	worker.Handle(p, "fail", func(context.Context, struct{}, any) (any, error) { return nil, io.ErrUnexpectedEOF })
	worker.Handle(p, "panic", func(context.Context, struct{}, any) (any, error) { panic("as told") })
	worker.Handle(p, "first", func(context.Context, struct{}, any) (any, error) {
		return nil, worker.Fan(
			worker.Branch{Name: "a", Pool: "w", Method: "echo", Arg: []byte("a")}, worker.Branch{Name: "b", Pool: "w", Method: "echo", Arg: []byte("b")},
		).Join("w", "join")
	})
	worker.Handle(p, "join", func(context.Context, struct{}, any) (string, error) { return "joined", nil })
	worker.HandleStream(p, "write", func(_ context.Context, _ struct{}, _ any, to io.Writer) error {
		_, err := io.WriteString(to, "written")
		return err
	})
	worker.HandleCast(p, "cast", func(context.Context, any) (string, error) { return "node", nil })
	c.serve(t, worker.Options{Tracer: s}, p)
	cl := c.dial(t, client.WithTracer(s))
	in := open(t, cl, "w")
	steps := "*first(*echo(echo) *echo(echo) *join(join) first)"
	for _, test := range []struct {
		name string
		call func(ctx context.Context) error
		want string
	}{
		{"Call of bytes", func(ctx context.Context) error {
			_, err := client.Call[[]byte](ctx, in, "echo", []byte("x"))
			return err
		}, "*echo(echo)"},
		{"Call", func(ctx context.Context) error { return in.Call(ctx, "echo", "x", nil) }, "*echo(echo)"},
		{"Do", func(ctx context.Context) error { _, err := client.Do[any](ctx, cl, "w", "first", 0); return err }, steps},
		{"Call that goes on", func(ctx context.Context) error { return in.Call(ctx, "first", 0, nil) }, steps},
		{"Go", func(ctx context.Context) error { return in.Go(ctx, "echo", "x").Wait(nil) }, "*echo(echo)"},
		{"Go that goes on", func(ctx context.Context) error { return in.Go(ctx, "first", 0).Wait(nil) }, steps},
		{"Go that nobody waits for", func(ctx context.Context) error { in.Go(ctx, "fail", 0); return nil }, "*fail![method failed done](fail![method failed])"},
		{"Client.Go", func(ctx context.Context) error { return cl.Go(ctx, "w", "first", 0).Wait(nil) }, steps},
		{"Stream", func(ctx context.Context) error {
			r, err := in.Stream(ctx, "write", 0)
			if err == nil {
				_, err = io.Copy(io.Discard, r)
				r.Close()
			}
			return err
		}, "*write(write)"},
		{"Job", func(ctx context.Context) (err error) {
			for item := range client.Job[any](ctx, cl, "w", "echo", slices.Values([]string{"x", "y"})) {
				err = item.Err
			}
			return err
		}, "*echo(echo) *echo(echo)"},
		{"Broadcast", func(ctx context.Context) error {
			_, err := client.Broadcast[string](ctx, cl, "w", "cast", 0).Wait()
			return err
		}, "*cast(cast)"},
		{"OpenCall", func(ctx context.Context) error {
			own, err := cl.OpenCall(ctx, "w", "echo", "x", nil)
			if own != nil {
				closeSession(t, own)
			}
			return err
		}, "*echo(echo)"},
	} {
		if err := test.call(t.Context()); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if got := s.tree(t); got != test.want {
			t.Errorf("%s: spans %s, want %s", test.name, got, test.want)
		}
	}
	for _, test := range []struct{ method, want string }{
		{"fail", "*fail![method failed done](fail![method failed])"},
		{"nothing", "*nothing![unknown method not run](nothing![unknown method])"},
		{"panic", "*panic![worker panicked done](panic![worker panicked])"},
	} {
		if _, err := client.Do[any](t.Context(), cl, "w", test.method, 0); err == nil {
			t.Errorf("%s: no error", test.method)
		}
		if got := s.tree(t); got != test.want {
			t.Errorf("%s: spans %s, want %s", test.method, got, test.want)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := in.Go(gone, "echo", "x").Wait(nil); err == nil {
		t.Error("a call of a context that has ended: no error")
	}
	if got, want := s.tree(t), "*echo![cancelled not run]"; got != want {
		t.Errorf("a call of a context that has ended: spans %s, want %s", got, want)
	}
}
