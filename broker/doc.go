// Package broker answers one question: how does a broker run as a process? It
// feeds the pure core (package broker/core) from one ROUTER socket, on one
// loop, and shows its state to others.
//
// The loop is the only one that touches the core. Whoever wants to know
// something of it (the admin pages) asks through Server.Status, which runs on
// the loop and answers from there: a broker whose loop stands answers nobody.
//
// What it does not do: it decides nothing (broker/core does), and it serves no
// HTTP (broker/admin does).
package broker
