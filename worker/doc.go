// Package worker answers one question: how does a program serve sessions? It
// is the SDK of the working side: pools with typed handlers, and Serve, which
// makes the process a node of one or more brokers.
//
// The way of a call through a node, and nothing else on it:
//
//	zmqio loop -> node.Envelope -> core.Step -> task (the session's goroutine)
//	  -> handler -> core.Done -> zmqio.Send
//
// Goroutines and their owners: the loop is Serve's; every session has one
// goroutine (a task), started when its offer is taken and waited for by Serve.
// Open, every call and Close of a session run on it; with LockThread it stays
// on one OS thread, which ends with the session. One more looks for the start
// records of dead nodes of this machine, and ends with the loop; the coroner
// looks where calls hang that pass their budget, and ends with it too.
//
// With Options.SlotsPerProcess Serve is a supervisor (internal/supervise) of
// processes that run this program once more; in each of them Serve is a node as
// above, whose loop also beats to the supervisor.
//
// The judge of everything is the pure core (package worker/core), guarded by
// the node's mutex. Envelopes are sent after the mutex is released.
//
// What it does not do: it opens no session by itself, and it never moves one.
package worker
