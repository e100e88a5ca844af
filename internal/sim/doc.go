// Package sim answers one question: do the promises hold when everything goes
// wrong at once? It runs the cores of brokers, nodes and clients together in
// one goroutine under virtual time: parts crash, stop, and have their clocks
// jump; links lose, delay, double, reorder and cut what they carry. Real
// transports lose and reorder only around reconnects; these are worse.
//
//	seed -> plan (how large, which faults, which habits)
//	     -> World: agenda (virtual time) -> process (broker, node, client)
//	                                     -> link (envelopes)
//	     -> truth: what really ran, judged against what was said
//
// The truth is told at the handlers and compared with every answer: a call that
// is done ran exactly once, one that is not run never does, one that is unknown
// needs a reason. At the end, when all faults are over, every open and call
// must have ended, every slot must be free, and every table empty.
//
// The same seed is the same history, byte by byte:
//
//	go test ./internal/sim -run TestSeeds -seeds 1 -first 42 -history
//
// What it does not do: no sockets, no goroutines, no real clock. The runtimes
// around the cores are modelled after packages broker, worker and client, and
// have tests of their own. A start record is noted in the same instant in which
// its handler begins: what a kill between the two does is not shown here.
package sim
