// Package session answers one question: what do a session's two ends owe each
// other? It holds the words of that contract (ID, Key, Route, codes, outcomes)
// and its two halves as pure state machines: Caller at the client, Callee and
// Clocks at the worker. What travels as chunks has two halves of its own, Outflow
// and Inflow, at either end, and a Road that the streams to one peer share.
//
//	Caller                                   Callee
//	Begin: number n, window, bytes    ->     Arrive: in order, once
//	Overdue: the same n again         ->     Repeated / Replayed, never run again
//	Settle: first answer counts       <-     Finish: the reply is stored
//	Ack: all up to n settled          ->     forgotten
//
//	Outflow                                  Inflow
//	Next: as far as there is credit   ->     Arrive: in its place, once
//	Credit: what was taken is dropped <-     Grant: what was taken, and the room there is
//	Rewind: from there once more
//
// Time comes in as an argument; so does chance. Nothing here knows the wire,
// a socket, a goroutine or a lock: whoever owns a value locks it.
//
// What it does not do: it does not decide who gets a worker (assigner), nor
// who is dead (heartbeat), nor does it send anything.
package session
