package span

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// told are the flags that a trace context has on its way, by the W3C
// recommendation; whatever else a span has is its process's own.
const told = trace.FlagsSampled | trace.FlagsRandom

// Of is the span that ctx belongs to, as it travels; none where ctx has no valid
// one.
func Of(ctx context.Context) (t wire.Trace) {
	is := trace.SpanContextFromContext(ctx)
	if !is.IsValid() {
		return t
	}
	id, parent := is.TraceID(), is.SpanID()
	copy(t[:16], id[:])
	copy(t[16:], parent[:])
	t[24] = byte(is.TraceFlags() & told)
	return t
}

// Traceparent is the span that ctx belongs to as the header of that name has it;
// empty where ctx has no valid one.
func Traceparent(ctx context.Context) string {
	t := Of(ctx)
	if !t.Valid() {
		return ""
	}
	return fmt.Sprintf("00-%x-%x-%02x", t[:16], t[16:24], t[24])
}

// Under is ctx with the span that came with a call, as a remote one; ctx as it is
// where there is none.
func Under(ctx context.Context, t *wire.Trace) context.Context {
	if !t.Valid() {
		return ctx
	}
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID(t[:16]), SpanID: trace.SpanID(t[16:24]), TraceFlags: trace.TraceFlags(t[24]) & told,
	}))
}

// Scope is the name under which tracers are asked for.
const Scope = "github.com/limpet-rpc/limpet"

// Begin begins a span of one call of a method.
func Begin(ctx context.Context, t trace.Tracer, kind trace.SpanKind, pool, method string) (context.Context, trace.Span) {
	name := pool + "/" + method
	return t.Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes( //nolint:spancheck // whose call it is ends it
		attribute.String("rpc.system.name", "limpet"), attribute.String("rpc.method", name)))
}
