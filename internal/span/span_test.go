package span

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/limpet-rpc/limpet/internal/wire"
)

func TestThereAndBack(t *testing.T) {
	is := trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, 15: 2}, SpanID: trace.SpanID{3, 7: 4}, TraceFlags: trace.FlagsSampled | trace.FlagsRandom | 0x80,
	})
	on := Of(trace.ContextWithSpanContext(t.Context(), is))
	if want := (wire.Trace{1, 15: 2, 16: 3, 23: 4, 24: 3}); on != want {
		t.Fatalf("it travels as %x, want %x", on, want)
	}
	got := trace.SpanContextFromContext(Under(t.Context(), &on))
	if !got.IsRemote() || got.TraceID() != is.TraceID() || got.SpanID() != is.SpanID() || got.TraceFlags() != trace.FlagsSampled|trace.FlagsRandom {
		t.Errorf("it came as %+v", got)
	}
	if got, want := Traceparent(trace.ContextWithSpanContext(t.Context(), is)), "00-01000000000000000000000000000002-0300000000000004-03"; got != want {
		t.Errorf("as a header it is %s, want %s", got, want)
	}
	forged := on
	forged[24] = 0xff
	if got := trace.SpanContextFromContext(Under(t.Context(), &forged)); got.TraceFlags() != trace.FlagsSampled|trace.FlagsRandom {
		t.Errorf("flags that nobody knows came as %s", got.TraceFlags())
	}
}

// What is no span makes none, and leaves the context as it is.
func TestNone(t *testing.T) {
	half := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}})
	for _, ctx := range []context.Context{t.Context(), trace.ContextWithSpanContext(t.Context(), half)} {
		if got := Of(ctx); got.Valid() || got != (wire.Trace{}) {
			t.Errorf("a context without a span has %x", got)
		}
		if got := Traceparent(ctx); got != "" {
			t.Errorf("a context without a span has the header %s", got)
		}
	}
	for _, none := range []wire.Trace{{}, {1}, {16: 1}} {
		if got := Under(t.Context(), &none); got != t.Context() {
			t.Errorf("%x makes a context of its own", none)
		}
	}
}

func TestNoneCostsNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var t0 wire.Trace
	if n := testing.AllocsPerRun(100, func() { t0 = Of(ctx) }); n != 0 || t0.Valid() {
		t.Errorf("%.0f allocations", n)
	}
}

func BenchmarkOfNone(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	for b.Loop() {
		_ = Of(ctx)
	}
}
