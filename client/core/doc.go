// Package core answers one question: what does a client process do with a
// message? It is the client as a pure state machine: opens that are repeated
// until they are answered, sessions with their calls in flight, retries, and
// the beats that keep leases. Package client gives it sockets and goroutines
// that wait, internal/sim gives it neither.
//
// One call, as the client sees it:
//
//	Call -> pending (window full) -> in flight -> settled, exactly once:
//	          |                        |            done, not run or unknown
//	          + Cancel: not run        + sent again with the same number until
//	                                     something settles it
//
// A broadcast is sent until every member of its snapshot is settled here: the
// answers come with the numbers of the broker that has it, and are taken in
// their turn; of another broker only whom no other has told of.
//
// Who waits for what is the owner's business: every open, call and close
// carries a tag that comes back with its end in Effects.
//
// What it does not do: it waits for nothing, opens no socket, reads no clock;
// chance comes in at New.
package core
