package worker

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/limpet-rpc/limpet/internal/span"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// under puts a call under its caller's span, if it came with one, before anybody
// else knows of it.
func (c *callContext) under(t *wire.Trace) {
	if t.Valid() {
		c.particular().above = span.Under(c.labels(), t)
	}
}

// span begins the span of a run, where the node makes them; nil where not. It
// comes before whatever looks at the context.
func (n *node) span(c *callContext, pool string, method []byte) (run trace.Span) {
	if n.tracer == nil {
		return nil
	}
	above := c.above()
	if above == nil {
		above = c.labels()
	}
	c.particular().above, run = span.Begin(above, n.tracer, trace.SpanKindServer, pool, string(method))
	return run
}

// endSpan ends the span of a run that came to this reply.
func endSpan(run trace.Span, r *session.Reply) {
	if run == nil {
		return
	}
	if r.Code != 0 {
		run.SetAttributes(attribute.String("error.type", r.Code.Error()))
		run.SetStatus(codes.Error, wire.ParseFailure(r.Body).Text)
	}
	run.End()
}
