package worker

import "golang.org/x/sys/unix"

// ThreadID returns the id of the OS thread that it is called on, as ps and
// /proc know it. Without LockThread it may be another one the next moment.
func ThreadID() int { return unix.Gettid() }
