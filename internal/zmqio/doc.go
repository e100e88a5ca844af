// Package zmqio answers one question: how do many goroutines exchange
// envelopes with peers over ZeroMQ sockets, each of which only one of them may
// touch at a time? It is the only package that knows the ZeroMQ binding.
//
// # Ownership
//
// A Loop owns its sockets: any number of ROUTERs (Listen) and DEALERs
// (Connect). One goroutine runs it and calls the Handler; it is not locked to
// an OS thread. Each socket has a lock. The loop takes it to receive a batch
// and to flush, never while a handler runs; a sender only tries it, and only
// while the loop is parked or a whole frame is waiting. Listen and Connect make
// their socket on the calling goroutine and then hand it over under the loop's
// own lock, so that they work before Run, during it, and from a handler.
//
// A peer is a number. Behind a ROUTER it stands for one identity from its first
// message until it is unreachable, idle for long, or displaced by newer ones;
// then Handler.Gone is called and the number is never used again. Behind a
// DEALER it stands for the endpoint, whatever is connected there.
//
// # Sending
//
// Send copies the envelope into the peer's outbox and puts the peer on its
// socket's dirty list, unless it is there already. Envelopes that wait for the
// same peer leave in one frame. Who sends it:
//
//	        Send: append, mark dirty, look at awake
//	           │                        │
//	      loop is awake            loop is parked
//	           │                        │
//	it flushes after the      yield once (not SendPinned), try the lock
//	batch, before it parks        │                    │
//	                            got it            somebody has it
//	                              │                    │
//	                flush, look at ZMQ_EVENTS,    done: the holder looks at
//	                unlock, wake the loop if      the dirty list once more
//	                there is input, look at the   after unlocking
//	                dirty list once more
//
// A peer that does not take its frames is stalled: they wait, up to
// Options.PeerBuffer, and are offered again a few peers a flush and all of them
// every tick. That costs nobody else anything. A peer that ZeroMQ cannot route
// to any more is gone.
//
// # Parking
//
//	 ┌──────── awake ◄───────────────────────────────────────────┐
//	 │   receive, work, tick, flush until nothing is left         │
//	 ▼                                                            │
//	announced: awake = false                                      │
//	 │   1. look at ZMQ_EVENTS of every socket ── input ──────────┤
//	 │   2. look at the dirty lists and the inbox ── work ────────┤
//	 ▼                                                            │
//	asleep: poll(2) on every ZMQ_FD and on the waker ── any ──────┘
//
// ZMQ_FD is an edge, and every call on the socket may consume it. So a sender
// that has used the socket of a parked loop looks at ZMQ_EVENTS before it
// unlocks. Work is published first and awake looked at second, the loop does it
// the other way round, so at least one of them sees the other. Step 2 comes
// after the locks of step 1 are released: a sender that lost the try-lock to
// step 1 is seen by step 2.
//
// # Receiving
//
// A message is an identity (ROUTER only), perhaps the empty delimiter of a REQ,
// and exactly one body. Everything else is drained and given to
// Handler.Malformed once. A peer that used the delimiter gets it back. How much
// one peer can make this process hold is bounded: a frame by MAXMSGSIZE, whole
// messages by the high water mark, a message without an end by
// Options.Unfinished.
//
// # What it does not do
//
// It neither knows who a peer is nor whether it works: Hello and beats live
// above. It does not retry, number, or acknowledge: what was queued for a
// connection that breaks may be lost. It has no order between peers, no
// priorities, and no authentication.
package zmqio
