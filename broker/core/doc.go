// Package core answers one question: what does a broker do with a message? It
// is the broker as a pure state machine: Step takes one envelope, Tick the
// passing of time, Gone a connection that broke, and each fills Effects with
// what to send and what happened. One loop (package broker) feeds it from
// sockets, another (internal/sim) from a simulated network.
//
// One open, as its record here goes:
//
//	            Ask                Grants              Accept
//	(nothing) ------> queued ------------> offered ------------> opened
//	                    |  ^                  |                     |
//	   Withdraw, wait   |  |  Decline, node   |  Withdraw           |  Ended, node lost
//	   over, client     |  +------------------+  (Revoke goes out)  |
//	   gone             v                     v                     v
//	                  past  <------------------------------------- past
//
// A past open is remembered for a while, so that a copy of it that comes late
// opens nothing. Session messages pass through by their fixed header alone.
//
// Which node is asked is the assigner's to say, by the pool's policy; what nodes
// name and say for it is in placement.go, and how large their pools are now in
// resize.go.
//
// A broadcast is asked of every member of its snapshot, and ends with the last
// of them (broadcast.go, its nodes in question.go, its client in answers.go). That
// the broker coordinates it, and not the client, is because the broker learns of
// deaths first, and has the connections.
//
// Its state is soft: whatever lives is owned by the nodes, which bring their
// sessions along when they register. Until Config.Recovery has passed since
// its start a broker does not judge nodes it does not know: it answers
// recovering.
//
// What it does not do: it does not place (assigner), does not time peers
// (heartbeat), opens no socket, reads no clock, draws no chance.
package core
