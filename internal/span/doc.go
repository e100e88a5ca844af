// Package span answers one question: how does a caller's span reach its handler?
// It puts the OpenTelemetry span of a context on the wire as a W3C trace context,
// and takes one off the wire into a context, as a remote span.
//
// Where a client or a node was given a tracer, it begins the spans of their calls.
//
// What it does not do: a tracestate does not travel.
package span
