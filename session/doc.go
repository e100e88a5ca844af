// Package session answers one question: what do a session's two ends owe each
// other? It holds the words of that contract (ID, Key, Route, codes, outcomes)
// and its two halves as pure state machines: Caller at the client, Callee and
// Clocks at the worker.
//
//	Caller                                   Callee
//	Begin: number n, window, bytes    ->     Arrive: in order, once
//	Overdue: the same n again         ->     Repeated / Replayed, never run again
//	Settle: first answer counts       <-     Finish: the reply is stored
//	Ack: all up to n settled          ->     forgotten
//
// Time comes in as an argument; so does chance. Nothing here knows the wire,
// a socket, a goroutine or a lock: whoever owns a value locks it.
//
// What it does not do: it does not decide who gets a worker (assigner), nor
// who is dead (heartbeat), nor does it send anything.
package session
