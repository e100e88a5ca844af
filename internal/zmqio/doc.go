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
// # Work that is left
//
// What other goroutines have for the handler need not wait for the handler's lock
// either: a Gatherer's goroutines put it on a list of its own and look at Awake. The
// loop takes the whole list once a round, after the yield and before the flush, so
// that one lock, one step of a state machine and one frame serve all of it; who
// finds the loop asleep takes the list himself. The order is that of sending: the
// work is published first and Awake looked at second.
//
// # Parking
//
//	 ┌──────── awake ◄───────────────────────────────────────────┐
//	 │   receive, work, tick, flush until nothing is left         │
//	 ▼                                                            │
//	announced: awake = false                                      │
//	 │   1. look at ZMQ_EVENTS of every socket ── input ──────────┤
//	 │   2. look at dirty lists, inbox, what is left ── work ──────┤
//	 ▼                                                            │
//	asleep: poll(2) on every ZMQ_FD and on the waker ── any ──────┘
//
// What libzmq has found empty stays so until ZMQ_FD fires, as long as nobody calls
// it: such a socket is asked neither before the loop sleeps nor when it wakes for
// another one. A loop with a hundred sockets pays for those that have something.
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
// # Blocks
//
// A large envelope may be a Block: memory outside the collector's reach that
// libzmq sends from (zmq_msg_init_data), or has received into. SendBlock queues
// one as a frame of its own, in order with the other envelopes of that peer; a
// handler that has Blocks is given large frames as blocks and may send them on,
// which is all that a relay does. References count: the program's, by Retain and
// Release, and libzmq's, which its I/O thread gives up in C. All blocks of a
// process together hold at most 512 MiB: beyond it NewBlock fails, and what is
// received is copied. Of what is given back 16 MiB are kept to be used again.
// Stats shows all three figures. To use a block after its release is a mistake of
// the kind that C knows.
//
// # The C shim
//
// The binding makes, configures and closes sockets. What runs for every message
// goes by shim.c instead: limpet_receive takes up to 64 parts out of a socket in
// one crossing from Go to C, into an arena of 32 KiB of which handlers may keep
// slices (a part over 8 KiB gets memory of its own, or becomes a block);
// limpet_send hands identity, delimiter and body over in one. Both try again where
// a signal interrupted them. What the parts mean is judged in Go, by the same code
// for both ways: C knows neither envelopes nor peers, keeps no pointer into Go's
// memory and never calls Go.
//
// The build tag limpet_pure_zmq leaves the shim out. Everything else is the same,
// blocks too, which are ordinary memory then that the binding copies. What the
// shim earns, as its figure divided by that of the binding alone: medians (least
// to greatest) of 11 interleaved runs of limpet-bench, 64 bytes, two cores, a loaded
// machine; the last line of five runs of BenchmarkBlocks.
//
//	               calls/s               p50                   CPU a call
//	1 caller       1.11 (0.67 to 1.53)   0.96 (0.80 to 1.10)   1.00 (0.80 to 1.42)
//	64 callers     1.12 (0.68 to 2.47)   0.92 (0.59 to 1.07)   0.95 (0.60 to 1.09)
//	1,024 callers  0.94 (0.76 to 1.75)   1.01 (0.59 to 1.39)   1.02 (0.85 to 1.14)
//	256 KiB blocks 4.4 (2.5 to 5.8) in bytes a second
//
// So small calls gain little, for coalescing has made messages few: what they cost
// is goroutines that wake each other, and libzmq's threads. What the shim is for is
// large objects, and memory: a lone call allocated 14 times in the two loops it
// passes and allocates nothing now but its bytes in their arenas, 149 of them for
// 64 (BenchmarkEcho, TestCallsAllocateArenasOnly).
//
// # What it does not do
//
// It neither knows who a peer is nor whether it works: Hello and beats live
// above. It does not retry, number, or acknowledge: what was queued for a
// connection that breaks may be lost. It has no order between peers, no
// priorities (a small envelope waits behind the blocks that were queued for its
// peer before it), and no authentication. The shim neither polls nor parks, takes
// no part in the making of sockets, and watches no connections.
package zmqio
