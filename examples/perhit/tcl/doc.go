// Package tcl evaluates untrusted Tcl scripts in a safe interpreter.
//
// It binds the little of libtcl (8.6 or newer) that a hit needs: a fresh
// interpreter, variables in, a script, variables out. It has no Go callbacks, no
// channels and no event loop of its own.
//
// # Threads
//
// An [Interp] belongs to the OS thread that called [New], for its whole life.
// Libtcl keeps an interpreter's memory pools, its timers and its asynchronous
// handlers in that thread's local storage. From any other thread the process is
// aborted by Tcl_Panic: by libtcl itself in Close, and by this package in every other
// method, where only a debug build of libtcl looks and a normal one goes on with
// damaged memory. There is no error to catch. The caller must stay on one thread, by
// [runtime.LockOSThread] or by a Limpet pool with LockThread.
//
//	New ──▶ SetVar, Eval, GetVar in any order ──▶ Close      all on one OS thread
//
// # Limits
//
// A script sees no files, no processes, no sockets and no other interpreter. The
// clock of [Interp.LimitTime] and the count of [Interp.LimitCommands] end it from
// within. They are looked at between Tcl commands, so that a single command which
// computes for long (a huge power, a pathological regular expression) ends late, and
// nothing here bounds memory: a script that asks for too much of it aborts the
// process. That is one more reason to run scripts in worker processes.
package tcl
