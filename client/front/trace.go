package front

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// traced is the context of a request, in the span that its traceparent header
// names. One that is no traceparent is ignored, as the W3C recommendation has it;
// so is the header where whoever wraps the front has made a span of the request's
// already.
func traced(r *http.Request) context.Context {
	ctx := r.Context()
	if len(r.Header["Traceparent"]) != 1 || trace.SpanContextFromContext(ctx).IsValid() {
		return ctx // two of them are none
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
}
