//go:build linux

package hostlock

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// errGripped: another open file has the flock.
var errGripped = errors.New("gripped by another")

// grip takes the flock of a file without waiting. It ends with the open file:
// with its Close, with loosen, with the process.
func grip(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errGripped
	}
	if err != nil {
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil
}

// claim marks a gripped file as one whose record stands.
func claim(f *os.File) error {
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, mark(unix.F_WRLCK)); err != nil {
		return fmt.Errorf("claim %s: %w", f.Name(), err)
	}
	return nil
}

// claimed asks whether another open file of the same name is claimed. It
// takes nothing.
func claimed(f *os.File) (bool, error) {
	m := mark(unix.F_WRLCK)
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, m); err != nil {
		return false, fmt.Errorf("look who claimed %s: %w", f.Name(), err)
	}
	return m.Type != unix.F_UNLCK, nil
}

// loosen ends both, also where a child that is just being started has
// inherited the open file for a moment.
func loosen(f *os.File) error {
	return errors.Join(
		unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, mark(unix.F_UNLCK)),
		unix.Flock(int(f.Fd()), unix.LOCK_UN),
		f.Close(),
	)
}

func mark(kind int16) *unix.Flock_t {
	return &unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: 0, Len: 1}
}
