package program

import (
	"errors"
	"os"
	"syscall"
)

// remains reads a child's stream. Past its deadline, which is set when the child
// has ended, it still takes what lies in the pipe: the last words of one that is
// dead, however late this process comes to hear them. Who else holds the pipe and
// goes on writing is heard for a pipe's length and no longer.
type remains struct {
	file *os.File
	left int // bytes that may be taken past the deadline
}

// pipeMost is how much a pipe holds, unless somebody has changed that.
const pipeMost = 64 << 10

func remainsOf(f *os.File) *remains { return &remains{f, pipeMost} }

// Read implements io.Reader.
func (r *remains) Read(b []byte) (int, error) {
	n, err := r.file.Read(b)
	if !errors.Is(err, os.ErrDeadlineExceeded) || r.left == 0 {
		return n, err
	}
	raw, closed := r.file.SyscallConn()
	if closed != nil {
		return 0, err
	}
	there := 0
	closed = raw.Control(func(fd uintptr) { there = readNow(int(fd), b[:min(len(b), r.left)]) })
	if closed != nil || there <= 0 {
		return 0, err // nothing is there, or it is over
	}
	r.left -= there
	return there, nil
}

// readNow reads without waiting.
func readNow(fd int, b []byte) int {
	for {
		n, err := syscall.Read(fd, b)
		if !errors.Is(err, syscall.EINTR) {
			return n
		}
	}
}
