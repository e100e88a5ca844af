// Package core answers one question: what does a node do with a message? It is
// the node as a pure state machine: the judge of offers, the owner of slots and
// sessions, the keeper of calls, replies and clocks. Package worker gives it
// goroutines and sockets, internal/sim gives it neither.
//
// One session, as its slot sees it:
//
//	free --Offer--> starting --OpenDone--> open --Close, clock, panic--> closing --Closed--> free
//	                    |                                                   ^
//	                    +--- Revoke, OpenDone ------------------------------+
//	                    +--- Open failed ------------------------------------------------> free
//
// A call that passes its budget without a sign of life is examined and condemned
// (see hang.go): its session ends, and its slot is quarantined, which is closing
// with a handler that does not return:
//
//	open --budget over--> examined --Examined, or in time--> quarantined --Done, Closed--> free
//	  ^                      |
//	  +--- progress, end ----+
//
// What the core wants done by the session's goroutine comes back in Effects:
// Start (run the pool's Open), Run (one call at a time), Cancel, Stop (run the
// pool's Close), Hung (find out where). Whoever runs them reports back with
// OpenDone, Done, Closed, Examined.
//
// A pool may have more or fewer slots as opens wait for them (resize.go): package
// sizing says how many, and slots are opened and shut while they are free.
//
// A broadcast's method runs beside the sessions (aside.go), or in one of them
// between two calls; see errands.go, and castings.go for what is remembered of it.
//
// An ended session is remembered for a while with its replies, so that a
// repeated call is answered as the first was and never runs again.
//
// What it does not do: it does not run handlers, opens no socket, reads no
// clock; chance comes in at New.
package core
