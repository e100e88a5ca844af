// Package supervise answers one question: how does a program keep worker
// processes of its own alive? The parent (Run) executes its own program once
// for every seat and keeps the seats filled; the child (Parent) says what it
// is and beats from the loop that does its work.
//
// One process, as its seat sees it:
//
//	started --up--> serving --done-------------------------------> gone (in good order: the seat stays empty)
//	   |               |                                            ^
//	   |               +--hung call-> evicted (seat filled anew) ---+  drained of its neighbours, dumped, killed
//	   |               +--no beat for the limit---> dumped, killed -+-> gone: the seat is filled anew
//	   +--- ends, or says nothing for too long ---------------------+-> gone: the seat is filled anew, later each time
//
// A pool that grows and shrinks gets a seat more where opens wait for it, and one
// less where nobody needs it (resize.go, package sizing); its process is asked to
// drain, and the seat goes with it:
//
//	serving --no session, too many seats--> retired --its last session has ended--> gone, seat and all
//
// The two sides share a socket pair: the child finds it at a descriptor that its
// environment names. Its end is how either notices the other's death; besides,
// the kernel kills the child when its parent dies (package childproc).
//
// A child lends its parent the lock of its start record (package startrec). So
// the record is nobody's to read before the parent has left the cause of the
// death beside it: hung, with a dump, or how it ended by itself.
//
// Goroutines and their owners: Run's own loop owns all seats and processes; every
// process has one goroutine for its fate (fate), one that reads its messages,
// two that read its output and, while a debugger looks at it, one more. All have
// ended when Run returns.
//
// What it does not do: it knows no pools beyond their names and no sessions, decides
// nothing about their size, and opens no socket to a broker.
package supervise
