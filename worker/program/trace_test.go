package program_test

import (
	"context"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker/program"
)

// A child is told the trace of a call that has one, where its pool says so.
func TestTraceparent(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	traced := trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{15: 1}, SpanID: trace.SpanID{7: 2}, TraceFlags: trace.FlagsSampled,
	}))
	for told, want := range map[bool]string{true: "00-00000000000000000000000000000001-0000000000000002-01", false: "none"} {
		st := newStage(t, "act", func(c *program.Config) { c.Traceparent = told })
		s := st.open()
		for _, test := range []struct {
			ctx  context.Context
			want string
		}{{traced, want}, {ctx, "none"}, {traced, want}} {
			if got, err := client.Call[string](test.ctx, s, "span", 0); err != nil || got != test.want {
				t.Errorf("told %t: %q, %v; want %q", told, got, err, test.want)
			}
		}
	}
}
