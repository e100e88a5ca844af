// Package hostlock answers one question: who on this machine holds the cell?
// It is what the election needs of the operating system, and Linux only: a
// lock that outlives nobody, a kill that meets nobody else, and a way for the
// candidates to talk from their work loops. Who suspects whom, votes and
// kills is decided elsewhere.
//
// A cell is a folder on a local disk, owned by one user:
//
//	cell        the cell's id, made once
//	lock        flock is the election; inside, who holds it and under which epoch
//	ID.seat     a candidate of the roster, there while its process lives
//	ID.sock     its datagram socket
//	.new-*      a file being made; it gets its name when it is whole
//
// The lock of a cell, as another process sees it:
//
//	        TryLock             Claim
//	free ───────────▶ gripped ───────────▶ claimed ──▶ Claim again, under a greater epoch
//	  ▲                  │                    │
//	  └──────────────────┴────────────────────┘  Release, or the death of the process
//
// Gripped is an flock; claimed is a second lock on the same open file (fcntl's
// F_OFD_SETLK), set after the record has been written. The second one is
// there because others can ask after it without taking it: a probe with flock
// would make an honest TryLock fail. So Holder never shows the record of a
// predecessor as that of a holder. A seat is claimed in the same way, so that
// whoever sweeps a dead one (which takes its flock) never makes it look alive,
// not even when stopped halfway.
//
// Both locks belong to the open file: they end with the process, however it
// ends, before its pidfd says so, and stay with a process that is stopped.
// Nothing here waits for a lock, since the one who has it may be stopped.
//
// The lock file holds its record twice. A claim writes the copy that is not
// known to be on the disk, syncs, and writes the other: a reader or a crash in
// between finds at least one whole copy, and a checksum tells. What cannot be
// read is ErrGarbage; the next claim repairs it. The epoch never goes below
// one that can still be read.
//
// A process is known by pid namespace, pid, start time, boot, user, program
// file and, where the kernel has one (Linux 6.9), the number that it never
// gives twice. They are compared after the pidfd was opened, and what was read
// counts only if the pidfd's process had not ended by then: a recycled pid is
// never killed. Needs Linux 5.3.
//
// What it does not do: it does not stop processes of the same user from lying;
// it does not span machines, nor pid namespaces (ErrElsewhere); it knows no
// votes, beats or clocks.
package hostlock
