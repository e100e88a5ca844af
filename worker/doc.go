// Package worker answers one question: how does a program serve sessions? It
// is the SDK of the working side: pools with typed handlers, and Serve, which
// makes the process a node of one or more brokers.
//
// The way of a call through a node, and nothing else on it:
//
//	zmqio loop -> node.Envelope -> core.Step -> node.apply -> task (the session's
//	  goroutine, or its turn on a lane) -> handler -> node.done -> core.Done -> zmqio.Send
//
// A node is built (node.go, of options.go), runs until it is drained (run.go), steps
// the core (loop.go), does what the core asks for (effects.go), and tells it of calls
// that have ended (left.go).
//
// Goroutines and their owners: the loop is Serve's; every session has one
// goroutine (a task), waited for by Serve. It is started when the session's offer
// is taken or, in a pool without Open, Close and threads, with its first call.
// Open, every call and Close of a session run on it; with LockThread it stays
// on one OS thread, which ends with the session. A warm worker (warm.go) is such
// a goroutine before it has a session. With Lanes a session has no goroutine: it
// belongs to a lane (lane.go), a locked thread that ends with the node, and the
// core (worker/core/lane.go) hands the lane one thing at a time: Open, a call of
// whichever session's turn it is, Close. One more looks for the start
// records of dead nodes of this machine, and ends with the loop; the coroner
// looks where calls hang that pass their budget, and ends with it too.
//
// Where pools grow and shrink the core says so (Resized): badges, notes, lanes and
// threads are those of the most from the beginning, warm workers follow. What pools
// say of the node for placement is asked for by the loop, outside the mutex (say.go).
//
// A broadcast's method that runs once per node (HandleCast) has a goroutine for
// that long, of the side lane (aside.go); one that runs in a session has the
// session's.
//
// With Options.SlotsPerProcess Serve is a supervisor (internal/supervise) of
// processes that run this program once more; in each of them Serve is a node as
// above, whose loop also beats to the supervisor.
//
// The judge of everything is the pure core (package worker/core), guarded by
// the node's mutex. Envelopes are sent after the mutex is released. What brokers
// are told of slots (reports.go) is sent by the loop alone, in the order in which
// it happened, whichever goroutine found it out.
//
// The context of a call has its caller's span, or with Options.Tracer one of its own
// below that (span.go).
//
// # A thread for each session, and what a hand-off costs
//
// The goroutine of a LockThread session waits for its call as any goroutine does:
// the runtime wakes the locked thread and takes it off its processor again, two
// thread switches.
// What was tried instead, at 64 callers of 64 bytes on the direct path, on a noisy
// machine of 2 cores with 4 others at work (medians of 5 to 7 interleaved runs of
// 0.5 s; a channel that carried the call is 1.0, 49k to 56k calls/s; C with a thread a session 2.7):
//
//	a futex for each thread                                      0.31
//	the channel, the loop sends for everybody                    0.76
//	futex, and the loop sends, GOMAXPROCS 2 / 4 / 8 / 64         0.31 / 0.88 / 0.85 to 1.00 / 0.58
//	the channel, GOMAXPROCS 4 / 8 / 64                           0.93 / 0.90 / 0.64
//	the channel, a loop that does not yield, alone / and sends   0.59 / 0.62
//	futex, and the loop sends, GOMAXPROCS 64, at 1,024 callers   1.13 (0.79 to 1.22)
//
// A thread that comes back from its futex has no processor to run Go on while
// GOMAXPROCS are taken, and waits for one in line. None of it is worth 1.2, and
// GOMAXPROCS is the program's to choose: the runtime's own waiting stays. The call itself
// is handed over under the node's lock, which is held then anyway, and a channel says no more than
// that there is news: that touches less than a condition with a lock of its own, which it was for
// a while. Whoever does not need the thread for himself is served several times as fast by lanes.
//
// # Where a call goes on
//
// A handler that returns an Onward (worker.Next, worker.Fan) as its error ends its
// call with a reply that says where the work goes on. The node does nothing more:
// the caller's client walks on (package client). It is an error and not a result so
// that handlers of every result type can go on, and finish early with a value of
// their type.
//
// What it does not do: it opens no session by itself, and it never moves one.
package worker
