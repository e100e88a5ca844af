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
// What is received lies in memory of the loop's, which is used again. An argument is
// copied out of it once: to memory of its call's, which is used again when the call has
// ended, or, where its handler may keep it, to memory that is the handler's
// (internal/keep; worker/core's Pool.Lends says which).
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
// The goroutine of a LockThread session waits for its call as any goroutine does, unless
// the program has given the runtime many processors, see below. A processor of the runtime passes from locked thread to locked thread only by way of
// one that is not: that thread finds the session's goroutine in the queue, wakes its
// thread, gives it the processor and sleeps; the session's thread, when its call has
// ended, wakes such a one, gives it the processor and sleeps. Under load a call takes
// 3.5 system calls of futex and 2.1 switches on the node, of which these four make 99 %.
// C with a thread for each session takes 1.6 and 1.1. Of 13.5 us of CPU that the node
// spends on such a call, 6.9 are in futex, 2.0 elsewhere in the kernel, and 4.6 in Go, most of
// it the scheduler's: there is nothing in this package to save.
//
// What was tried where GOMAXPROCS is as many as there are cores, or few more, over the
// transport that speaks ZMTP itself, at 64 callers of 64 bytes on the direct path, on a noisy
// machine of 2 cores: medians of 8 interleaved runs of 0.7 s with the range, of 11 in the first
// two lines; tests ran beside some of them. GOMAXPROCS is the node's alone. The chain is the
// best of some twenty variants, its loop reads and writes without telling the runtime, and its
// last thread tells of all ends.
//
//	                                                         calls/s            CPU a call
//	the channel                                              1.00 (103,000)     1.00 (14 us)
//	C with a thread for each session                         2.05 (1.48-2.54)   0.49
//	the channel, the loop does not yield                     0.38 (0.34-0.63)   2.6
//	the channel, who ends a call wakes the loop to send      0.95 (0.79-1.29)   1.1
//	the channel, GOMAXPROCS 4                                1.07 (0.68-1.23)   1.1
//	the channel, GOMAXPROCS 64                               0.93 (0.49-1.06)   1.2
//	a futex for each thread, all are woken at once           0.21 (0.16-0.27)   1.4
//	futexes, two run, who ends a call wakes the next         0.40 (0.27-0.73)   1.2
//	a chain: the processor goes along, GOMAXPROCS 2          1.06 (0.84-1.36)   0.85
//	a chain: the processor goes along, GOMAXPROCS 4          1.43 (0.78-1.75)   0.73
//
// A thread that comes back from its futex has no processor to run Go on while GOMAXPROCS
// are taken, and waits for one in line, which costs it the two switches that were to be
// saved, and more. In the last two lines it has one: whoever has ended a call
// wakes the next and waits inside one system call as the runtime sees it, and the next, if that
// processor was the last that it ran on, takes it over, for that is how the runtime treats who
// comes back from a short system call. That takes the one wake-up and the one switch of C. It
// also takes the runtime's entersyscall and exitsyscall by their names, a queue for each
// processor by its number, and somebody who watches for handlers that wait, since all
// others of their queue stand behind them; and with as many processors as there are cores,
// which is what programs have, it brings little. So the runtime's own waiting stays there.
//
// With as many processors as there are threads with news at once, a thread keeps its
// processor while it waits in its futex, for the runtime takes away only what others want, or
// what has been in a system call for 10 ms; and it comes back to Go without anybody's help.
// Then a call takes one switch. Such threads wait at bells (bell_linux.go), of which 32 share
// a futex: one system call wakes those of them that a portion is for (FUTEX_WAKE_BITSET). Who
// has ended a call and finds the loop asleep wakes it, where several calls were handed over at
// once, and it sends for all. GOMAXPROCS is the program's to choose: newTowers looks, once,
// whether it has. What that brings, measured as above later on, with a newer kernel (6.18) on
// a noisier machine: medians of 5 interleaved runs of 0.8 s with the range. GOMAXPROCS is 68
// where nothing else is said; CPU is that of client and broker too:
//
//	                                                         calls/s            CPU a call
//	the channel, GOMAXPROCS 2                                1.00 (48,000)      1.00 (35 us)
//	C with a thread for each session                         2.32 (2.05-3.10)   0.39
//	bells                                                    1.70 (1.51-2.37)   0.61
//	bells, GOMAXPROCS 8                                      1.45 (1.21-2.43)   0.70
//	bells, GOMAXPROCS 2                                      0.31 (0.23-0.53)   1.7
//	the channel                                              1.14 (0.82-1.48)   1.1
//	a futex for each thread, who ends a call sends           1.52 (0.93-2.39)   0.70
//	a futex each, who ends a call wakes the loop to send     1.71 (0.97-2.64)   0.71
//	a futex each, the last of a portion sends for all        1.43 (0.96-2.64)   0.81
//	a futex each, two run, who ends a call wakes the next    1.34 (1.22-2.33)   0.71
//	a futex each, the loop looks once before it sleeps       1.75 (1.12-2.86)   0.66
//	a futex each, 1,024 buckets of them (PR_FUTEX_HASH)      1.73 (1.34-2.85)   0.60
//
// With 1 caller bells and the channel are as quick (1.10, 0.69-1.24), with 128 bells are worth
// 2.4 (2.37-2.44), with 1,024 3.1 (2.0-3.1).
//
// System calls of the node, those of futex among them, and switches, a call: with bells
// 1.5, 1.1 and 1.25, with the channel 4.25, 3.9 and 2.5, of C 3.0, 1.7 and 1.3.
//
// With more sessions than 64 and no more than 68 processors, threads hold processors that
// others want, and the runtime's monitor takes them: with 1,024 callers that was as quick as a
// processor for each. A thread whose processor is gone looks for another, and where there is none waits
// in line, as above. The collector stops the world without these threads, as with any system
// call. To whoever looks for calls that hang, a waiting thread is a goroutine in a system call,
// and no handler's; a session's end is rung like a call.
//
// The call itself is handed over under the node's lock, which is held then anyway, and a
// channel or a bell says no more than that there is news: that touches less than a condition with a lock of its own, which it was for
// a while. Whoever does not need the thread for himself is served faster still by lanes.
//
// # Very many sessions
//
// With 100,000 sessions a call costs more than with 100, for nothing that it touches has
// been touched of late: some 32 lines of memory on the node, and less than 20 on the client.
// Both ask for them ahead (package prefetch), and what a call needs of a session stands
// together. What is left, where the CPU of a call grows from 3.8 us to 5.3 on the node,
// is for the greater part the runtime's: the channel, who waits at it, the goroutine's
// structure and its stack (chansend, send, gopark, chanrecv), which miss the caches and
// the TLB. The collector comes next: a cycle takes 0.3 to 0.6 s of CPU here, about a third
// of that for stacks, of which it walks each frame, so that a session waits in no more
// than two functions of its own (run, finish). It comes once in as many bytes as are held; a
// call leaves it some 130 bytes on the node and 70 on the client.
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
