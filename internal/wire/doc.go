// Package wire answers one question: what do the bytes mean? It holds message
// kinds, frames and their codec; docs/protocol.md is its specification, and
// testdata/golden holds every kind as bytes.
//
//	frame    = 'L' 'M' 'P' version, 1..n envelopes
//	envelope = uint32 length, kind, rest
//	rest     = one MessagePack map                    (control messages)
//	         | fixed header, [trace], [method], body  (session messages)
//
// Everything that comes from outside is checked here or by the state machine
// that gets it: no length is believed, no decode panics, every string and list
// is bounded.
//
// What it does not do: it keeps no state, opens no socket, and knows no flow.
package wire
