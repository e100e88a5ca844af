package client

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/limpet-rpc/limpet/internal/span"
	"github.com/limpet-rpc/limpet/session"
)

// WithTracer has the client make an OpenTelemetry span for every call and
// broadcast, below the one of its context, and one below that for every step that
// a call goes on with: "pool/method", of the kind client, with the error and its
// outcome. Without it the client makes none: the span of a call's context reaches
// the handler as it is.
func WithTracer(p trace.TracerProvider) Option { return func(c *config) { c.tracer = p } }

// span begins a call's own span, where the client makes them; nil where not.
func (c *Client) span(ctx context.Context, pool, method string) (context.Context, trace.Span) {
	if c.tracer == nil {
		return ctx, nil
	}
	return span.Begin(ctx, c.tracer, trace.SpanKindClient, pool, method)
}

// endSpan ends the span of a call that has come to its end.
func endSpan(s trace.Span, err error, opts ...trace.SpanEndOption) {
	if s == nil {
		return
	}
	if err != nil {
		if e, ok := errors.AsType[*session.Error](err); ok {
			s.SetAttributes(attribute.String("error.type", e.Code.Error()))
		}
		s.SetAttributes(attribute.String("limpet.outcome", outcomeOf(err).Error()))
		s.SetStatus(codes.Error, err.Error())
	}
	s.End(opts...)
}

// endSpanApart does so on behalf of the loop, which must not wait for whoever
// takes the spans.
func (c *Client) endSpanApart(s trace.Span, err *session.Error) {
	if s == nil {
		return
	}
	now := trace.WithTimestamp(time.Now())
	end := func() {
		if err != nil {
			endSpan(s, err, now)
			return
		}
		endSpan(s, nil, now)
	}
	if !c.apart(end) {
		end()
	}
}
