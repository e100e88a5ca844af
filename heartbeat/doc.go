// Package heartbeat answers one question: who is still there?
//
// A [Monitor] is told who is watched, how often they promised to beat and how
// many beats may be missed (the window is interval × misses), and every beat
// that was heard. Check says whose state got worse:
//
//	        silent for        half of the way        silent for
//	        1¼ intervals      from late to gone      the window
//	Alive ───────────▶ Late ───────────▶ Suspect ───────────▶ Gone (forgotten)
//	  ▲                 │                   │
//	  └─────────────────┴───────────────────┘  a beat
//
// With 1 s × 3: late after 1.25 s, suspect after 2.125 s, gone after 3 s. Late
// is for status and metrics, Suspect is a reason to offer nothing new, Gone is
// final: whoever beats again afterwards has to be watched anew.
//
// # Busy is not hung, and asleep is not deaf
//
// A process that was stopped, swapped out or starved has heard nothing while
// it did not look, and it must not take that for the silence of others: their
// beats may lie unread in its own sockets. So the monitor suspects itself
// first. If the time since the last Check is more than a quarter of the shortest
// window (and more than two ticks), then
//
//   - the whole gap counts as nobody's silence: every window is as far from
//     its end as it was at the Check before the gap, without any of them being
//     touched (the monitor's clock stands still);
//   - the Check that ends the gap accuses nobody, so that what has arrived but
//     was not yet read can be read first;
//   - if the next Check is late again, a quarter of the shortest window counts
//     for each, so that a monitor that is always starved still finds the dead,
//     only later.
//
// Somebody who really dies during the gap is found later by at most the gap. The
// gap is noticed by whichever of Watch, Beat and Check is called first, so the
// order in which a loop reads and checks after waking does not matter.
//
// Whoever lets peers choose their interval bounds it: the shortest window sets
// what counts as a gap.
//
// # Work that hangs
//
// A [Watchdog] asks the same of pieces of work: each has a budget, and its beats
// are signs of progress. It suspects itself in the same way.
//
// # Election
//
// An [Election] is one candidate's part in choosing the master of a cell. The lock
// of the cell is the election; this is about who tries for it, and when one who
// has it and is silent is killed:
//
//	              the holder's beats stop for
//	          half the limit        the limit       a majority, and the lowest of it
//	Following ─────────────▶ Suspecting ─────▶ Voting ─────────────▶ Killing
//	  ▲   ▲                     │                │                      │
//	  │   └─────────────────────┴────────────────┴──── a beat           │ its process
//	  │                                                                 ▼ has ended
//	  │ another has the lock                                          Taking ◀── from any of them
//	  ├───────────────────────────────────────────────────────────────┤
//	  │                                                                 │ got the lock
//	StandingBy ◀───────────────────────────────────────────────────── Master
//	              the lock is not its own any more
//
// The majority is one of the candidates recorded in the cell, the accused not
// among them, and not of those who answer. A vote is said with every note and
// lapses when it is not repeated. A process that has ended is not voted about. A
// candidate whose own tick was late listens anew before it accuses anyone. A
// master that hears of a higher epoch, or has not looked for the limit, looks
// whether the lock is still its own.
//
// # Costs
//
// A beat is one map look-up: it allocates nothing and does not touch the heap.
// One who beats in time is looked at about once an interval, O(log n).
//
// # The other direction
//
// A [Pacer] tells a loop when its own beat is due. It has no goroutine and no
// timer on purpose: a beat that something else than the working loop sends would
// vouch for a loop that hangs.
//
// # What it does not do
//
// It sends nothing, knows no clock (time comes in as an argument; steps back are
// ignored), starts no goroutine, and takes no lock: it belongs to one loop. It
// cannot tell a dead peer from a cut cable, and does not judge what to do about
// either. Same calls, same answers.
package heartbeat
