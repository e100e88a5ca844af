// Package assigner answers one question: which node's slot goes to which waiting
// open?
//
// A [Table] knows the nodes, how many slots each gives to which pool, and how
// many of them are in use; and it knows, per pool, who waits. Grants brings the
// two together.
//
//	       Ask                Grants                    Free
//	open ──────▶ waiting ─────────────▶ slot in use ───────────▶ slot free
//	             ▲  │  │                     │
//	             │  │  └ Withdraw ▶ gone     │ the offer came to nothing:
//	             │  └── deadline ─▶ Expired  │ Free, Hold, Requeue
//	             └───────────────────────────┘
//
// A request that Ask took ends exactly once: granted, withdrawn, or expired.
// Requeue makes a granted one wait again.
//
// # The order of service
//
// Within a pool, requests are served by
//
//  1. effective priority: the request's own (-8 to 8), plus one for each
//     Limits.Aging that it has waited. Steps are counted on one clock for all, so
//     the first one may come early. A request's age starts when it is asked, or
//     when its client was last served at that priority, whichever is later: a
//     client's backlog does not age as a whole, or a thousand old requests of
//     one client would all go before the first of another;
//  2. the client's turn: whoever was served longest ago is next, and one that
//     starts to wait goes to the end of the round. A client that is asked for
//     after others waits for at most one grant to each of them, plus one for
//     each priority at which they have aged past it;
//  3. the order of asking.
//
// A request that no free slot suits is passed over and keeps its rank, so one
// that asks for busy labels blocks nobody. Nothing is reserved for it either:
// labels that fewer nodes have wait longer, and priority and age decide only
// between those that the same slot suits.
//
// The queue is bounded per pool and per client. Its last eighth is for clients
// that have nothing waiting in the pool, so that one client's flood fills the
// rest at most and the others still get in. Clients that multiply can fill it:
// who counts as one client is for the caller to say.
//
// # Which node
//
// See [Policy]. A pool's is the table's, unless SetPolicy gives it another.
// Equal, Lowest and Highest look at a value that each node says of itself and may
// change at any time (SetValue): what was given before stays where it is. A request
// that wants a value waits until a free slot's node says it. Used slots are counts, nothing is kept a slot. A node that
// declined is passed over until its Hold ends; the caller calls Grants then (see
// NextHold).
//
// # Pools
//
// A pool is known from the first node that names it, or from Expect, until Forget
// or Desert. One whose last
// node has left takes requests as before, and they wait for a node to come
// back. ErrNoSuchLabels is only given while the pool has nodes; draining ones
// count, because their successors will be like them. Who waits already, waits on
// when the last node that suits leaves. Names and labels are as many and as long
// as the caller lets them be.
//
// # Costs
//
// For n waiting: Ask, Withdraw and a granted slot O(log n), Grants with nothing
// changed O(1), Place O(n log n) after a change and O(1) until the next. A request
// with labels costs a look at every node of the pool, and a node's slot that
// comes free a look at every different set of labels that waits for one.
//
// # What it does not do
//
// It sends no offers and keeps no sessions, takes no time but what it is told,
// draws no chance, locks nothing (it belongs to one loop), and preempts nobody:
// a slot that is in use stays so until Free, Leave, or for ever. Same calls, same
// answers.
package assigner
