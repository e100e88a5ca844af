// Package cell answers one question: which broker of a machine is the master?
// Any number of processes join a cell, which is a folder. Each is a candidate;
// one of them is master, binds the endpoint and runs a broker.Server, the others
// stand by:
//
//	Join ──▶ standing by / following ──▶ taking ──▶ master ──▶ broker.Server
//	              ▲     the others' notes    the lock   │
//	              └─────────────────────────────────────┘ replaced, or the lock was lost
//
// heartbeat.Election decides, internal/hostlock is what it needs of the
// operating system; this package brings them together. Who does what:
//
//	the cell's loop      reads notes, ticks while it is not master, tries for the lock, watches the holder's process
//	the broker's loop    ticks while it is master: that is where a master's beats come from, so one whose loop stands falls silent
//	a kill               runs beside the loop, for it may have to wait
//
// A master's epoch is the highest that the lock file, another candidate or a
// node knows of, plus one. It is written to the lock file before anything is
// said under it. A master that hears of a higher one looks whether the lock is
// still its own: if so it raises its epoch, if not it stops its broker and
// stands by.
//
// What it does not do: it decides nothing about elections, does not know
// sessions or nodes, and does not span machines: the masters of two machines
// are two brokers.
package cell
