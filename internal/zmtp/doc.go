// Package zmtp answers one question: what do two ends of a ZeroMQ connection say
// to each other? It is ZMTP 3.1 (the ZeroMQ RFC 37) with the NULL mechanism, as
// far as ROUTER and DEALER need it: the greeting, the handshake, the heads of
// frames, and the commands that keep a connection alive. It is pure: bytes come
// in and go out as arguments.
//
// A connection as either side sees it:
//
//	greeting ──64 bytes──→ handshake ──READY──→ traffic ⟲ frames, PING, PONG
//	    │                      │
//	    └── not ZMTP 3, ───────┴── not NULL, not a kind that fits, ERROR ──→ over
//
// A frame is a head and a body: whether more frames of the same message follow,
// whether it is a command, and how long it is, in one byte or in eight.
//
// What it does not do: it speaks neither ZMTP 1 nor 2 (libzmq before 4.0), knows
// no security mechanism but NULL, no subscriptions, and no message beyond the
// frame: what the frames of a message mean is its user's to say.
package zmtp
