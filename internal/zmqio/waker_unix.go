//go:build unix && !linux

package zmqio

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func (w *waker) open() error {
	var ends [2]int
	// No child may inherit the ends between their making and their marking.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := unix.Pipe(ends[:]); err != nil {
		return err
	}
	w.read, w.write = ends[0], ends[1]
	for _, fd := range ends {
		unix.CloseOnExec(fd)
		if err := unix.SetNonblock(fd, true); err != nil {
			return err
		}
	}
	return nil
}
