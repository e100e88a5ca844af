//go:build unix && !linux

package zmqio

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// newStream makes a stream socket that neither blocks nor is inherited.
func newStream(family int) (int, error) {
	return inherited(func() (int, error) { return unix.Socket(family, unix.SOCK_STREAM, 0) })
}

func acceptStream(fd int) (int, error) {
	return inherited(func() (int, error) {
		accepted, _, err := unix.Accept(fd)
		return accepted, err
	})
}

// inherited marks what it has made before a child may inherit it.
func inherited(open func() (int, error)) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := open()
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// probe leaves the intervals of the kernel's probes as they are here.
func probe(int) {}

// waits says that waitFor does nothing.
const waits = false

// waitFor leaves it to the system here when it tells of input.
func waitFor(int, int) bool { return false }

// yield is left to the system here.
func yield() {}
