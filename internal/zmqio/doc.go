// Package zmqio answers one question: how do many goroutines exchange
// envelopes with peers over ZeroMQ connections, each of which only one of them may
// touch at a time? It is a ROUTER and a DEALER, and the only package that knows
// ZeroMQ; what is said on a connection is package zmtp's.
//
// # Ownership
//
// A Loop owns its sockets: any number of ROUTERs (Listen) and DEALERs
// (Connect), with their connections (link). One goroutine runs it and calls the
// Handler; it is not locked to an OS thread. Each socket has a lock. The loop takes
// it to read and to write, never while a handler runs; a sender only tries it, and
// only while the loop is parked or a whole frame is waiting. Only the loop reads,
// and only the loop ends a connection. Listen and Connect make their socket on the
// calling goroutine and then hand it over under the loop's own lock, so that they
// work before Run, during it, and from a handler.
//
// A peer is a number. Behind a ROUTER it stands for one connection from its first
// message until that ends, is idle for long, or is displaced by newer ones;
// then Handler.Gone is called and the number is never used again. Who connects
// names no identity that counts: nobody can take another's. Behind a
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
//	                write, unlock, look at the    done: the holder looks at
//	                dirty list once more          the dirty list once more
//	                                              after unlocking
//
// Who has more to do (SendSoon) wakes a parked loop and has it send.
//
// A peer that does not take its frames is stalled: they wait, up to
// Options.PeerBuffer, until the poller says that its connection takes more. That
// costs nobody else anything. What a connection that breaks had not taken is lost
// with its peer behind a ROUTER; behind a DEALER it waits for the next connection,
// and a frame of which a part had gone is sent again as a whole.
//
// # Work that is left
//
// What other goroutines have for the handler need not wait for the handler's lock
// either: a Gatherer's goroutines put it on a list of its own and look at Awake. The
// loop takes the whole list once a round, after the yield and before the flush, so
// that one lock, one step of a state machine and one frame serve all of it; who
// finds the loop asleep takes the list himself, or has the loop woken (Rouse). The order is that of sending: the
// work is published first and Awake looked at second.
//
// # Portions
//
// What has come is handed over in portions of 64 envelopes, however much there is and
// whatever frames it came in. After each those whom the handler has woken have their
// turn, and what is said to them is sent: the far side has something to do again, and
// the memory of 64 calls is still near when the goroutines run. All at once was the
// case before: with a thousand callers everything of everybody had left the caches
// between a step of a call and the next, and one side waited while the other worked.
//
// The clock is looked at when all that a round has read has been handed over. A round
// therefore reads some 1 MiB, of all connections together: 64 strangers who flood a loop
// do not keep it from its beats for longer than one.
//
// # Parking
//
//	 ┌──────── awake ◄───────────────────────────────────────────┐
//	 │   read, handle, tick, flush                                │
//	 ▼                                                            │
//	a look at the poller, without waiting ── something ──────────┤
//	 │   after 4 envelopes and more 30 times, others in between   │
//	 ▼                                                            │
//	announced: awake = false                                      │
//	 │   look at dirty lists, inbox, what is left ── work ─────────┤
//	 ▼                                                            │
//	asleep: epoll_wait(2) on every connection and the waker ─ any ┘
//
// Work is published first and awake looked at second, the loop does it the other
// way round, so at least one of them sees the other. Input needs no such care: the
// poller is level-triggered, and tells again of what has not been read. A loop with
// a thousand connections pays for those that have something.
//
// To sleep and to be woken costs both sides more than to look a while longer: the
// threads that are woken take the processor from those that would have gone on. A
// loop that has just been busy therefore looks again, for about 25 us, and lets other
// goroutines, and other threads by sched_yield(2), have their turn before each look. A
// lone call is answered as before. Where a program that never sleeps shares the
// processors, sched_yield costs a turn of 3 ms: with one beside each of two cores it
// took calls from 320,000 a second to 12,000. Who has lost a turn leaves it for a
// while (manners.go), and looks again less often; there calls are as many as without.
//
// What both are worth, calls/s of "limpet-bench first" at 64 bytes divided by those
// before, medians of 5 interleaved runs of 0.8 s, two cores, nothing beside:
//
//	                         portions   portions and looks
//	direct, 64 callers       0.99       1.44
//	direct, 1,024 callers    1.41       1.44
//	relayed, 64 callers      0.96       1.26
//	relayed, 1,024 callers   1.28       1.28
//
// Portions of 32 and 128 are as good, of 256 worse, of 16 worse with many callers. To
// read less at a time, 8 KiB, does the same, but counts bytes: with calls of 1 KiB it
// cost a third. Looks without giving way are worth 1.22 directly, and nothing relayed.
//
// # Receiving
//
// A handler that is a Foreseer is shown a portion before it gets it, and may have the
// memory brought near that it will need (package prefetch). What has come is read into
// an arena that all connections of a loop share, and that is used again once it has
// been handed over: handlers copy what they keep. A frame over 16 KiB that is not there as a whole
// is read into memory of its own, or into a block. A message is perhaps the empty
// delimiter of a REQ, and exactly one body; of everything else nothing is kept, and
// Handler.Malformed is called once. A peer that used the delimiter gets it back. How
// much one peer can make this process hold is bounded: a frame by wire.MaxFrame, a
// message without an end by Options.Unfinished, what is not read at all by the
// kernel. Whoever does not finish a handshake within three seconds, or is silent for
// twelve in the middle of a message or although he was sent a PING, is cut. PINGs are
// answered by the loop: a handler that is busy for that long costs its connections.
//
// # Blocks
//
// A large envelope may be a Block: memory that is used again, which the kernel
// copies from (writev) or has copied into. SendBlock queues
// one as a frame of its own, in order with the other envelopes of that peer; a
// handler that has Blocks is given large frames as blocks and may send them on,
// which is all that a relay does. References count: the program's, by Retain and
// Release, and the outbox's, until the kernel has taken the frame. All blocks of a
// process together hold at most 512 MiB: beyond it NewBlock fails, and what is
// received is copied. Of what is given back 16 MiB are kept to be used again.
// Stats shows all three figures.
//
// A block's frame begins half a page into its first page. At the kernel it lies behind
// the 9 bytes of its message's head, often at the beginning of a page: with the frame
// at the beginning of one too, both ends of the copy were the same but for 9 bytes,
// modulo 4 KiB, and there "rep movsb" of AMD's Zen 3 is many times slower than elsewhere. How
// often that was so was chance, of what else a thread had sent, until chunks had a
// connection of their own: there it was the rule. To use a block after its release is a mistake of
// the kind that C knows.
//
// # Freight
//
// What travels as chunks (wire.Freight) goes by a connection of its own, which a
// DEALER makes beside its main one, to the same place, when the first block of
// freight comes or goes: see freight.go. Freight is in order among itself, and all
// else among itself. Before, a small reply waited in the kernel behind up to 1 MiB of
// chunks. Whoever writes or reads freight does so a slice at a time, an eighth of
// a chunk where anything else has come of late and a chunk where not, so that the loop looks at
// small things in between; and beside those the writer gives way to other threads
// (sched_yield(2)) every 2 slices. That last was worth most: on two cores bulk keeps
// a thread runnable on each, and a loop that wakes waits for one of them.
//
// A reply of 1 GiB has 4,413 MiB/s and 2,591 relayed where it had 5,317 and 2,823 when
// it went with everything else; a small call beside it has a p99 of 131 us and 182
// where it had 691 and 877 ("limpet-bench large", medians of 3 interleaved runs).
//
// Those were measured before blocks lay as they do. Half a page aside, a chunk's body
// read past the arena, the poller that tells of a chunk by 256 KiB of it (SO_RCVLOWAT;
// without it a reader that is faster than the writer sleeps and is woken at every 64
// KiB), and credits for a quarter of the window: a reply of 1 GiB, beside busy
// neighbours ("chrt -r 1 limpet-bench large" of either commit), medians of 3 interleaved
// runs:
//
//	                          direct           relayed
//	                          before  now      before  now
//	MiB/s                     762     2,158    577     1,416
//
// Tried without gain, at that reply: a poller that tells by 96 KiB, or by whole chunks;
// TCP's congestion control (reno, bbr); readers woken, and writers let on, only for
// several chunks at once; reads and writes that keep their processor (RawSyscall); a
// scheduler's slice of 0.1 ms; writers who wait until their chunk is sent; to give way
// only where the poller has something for a loop that sleeps. All freight written by
// the loop costs a quarter of the throughput.
//
// # Why not libzmq
//
// The design's plan was the libzmq binding, with a C shim beside it that received
// and sent many messages in one crossing. That was built, and measured: libzmq
// gives each socket to an I/O thread, so every call passes four threads more than
// it needs, two on each side, which wake each other by eventfd. On two cores they
// took a fifth of the CPU of a busy connection and most of the time of a lone call.
// ZMTP is small; here it is read and written where the envelopes are. What that is
// worth, this package divided by the shim over libzmq 4.3.4, which is in the
// history up to f0328d1: medians of 5 interleaved runs of "limpet-bench first
// --peers zmqio-bare" of either commit, 64 bytes, two cores:
//
//	               calls/s   p50    CPU a call
//	1 caller       3.4       0.27   0.34
//	64 callers     1.2       0.85   0.93
//	1,024 callers  1.1       0.91   0.91
//
// Besides, programs with Limpet are Go alone, a broken connection is known when it
// breaks, no edge of ZMQ_FD can be lost, and what a hostile peer can hold is counted
// here and not guessed from outside. The tests play their strangers with libzmq.
//
// # What it does not do
//
// It neither knows who a peer is nor whether it works: Hello and beats live
// above. It does not retry, number, or acknowledge: what the kernel has taken for a
// connection that breaks may be lost. It has no order between peers, none between
// freight and all else for one peer, no other priorities, and no authentication or
// encryption.
package zmqio
