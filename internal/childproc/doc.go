// Package childproc answers one question: how does a process start children
// that never outlive it?
//
// Every child leads a process group of its own and gets SIGKILL when its
// parent dies. That signal follows the parent's thread, not its process: all
// children are started from one OS thread, which lives as long as any of them.
// The signal reaches the child and nobody else of its group; so while there are
// children, a guard (a shell that waits for the end of a pipe) kills their
// groups when the parent is gone. Where there is no /bin/sh there is no guard.
//
//	Start -> running -> ended (Ended is closed, a zombie) -> Wait -> gone
//
// A child that has ended is not taken from the process table before what is
// left of its group has been killed: so a signal for the group never meets a
// stranger that was given the same number. The guard alone cannot know that; it
// acts within a moment of the parent's death.
//
// What it does not do: it follows no process that leaves its group (setsid,
// setpgid); such a one outlives the child, and the parent.
package childproc
