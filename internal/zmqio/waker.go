package zmqio

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// waker is a descriptor that stays readable from wake until clear, however
// often it is woken.
type waker struct {
	mu     sync.Mutex
	set    bool
	closed bool
	read   int // eventfd, or the reading end of a pipe
	write  int
}

func newWaker() (*waker, error) {
	w := &waker{}
	if err := w.open(); err != nil {
		return nil, fmt.Errorf("zmqio: open wake-up descriptor: %w", err)
	}
	return w, nil
}

// wake never blocks: at most one token is ever in the descriptor.
func (w *waker) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.set || w.closed {
		return
	}
	w.set = true
	token := [8]byte{1}
	for {
		if _, err := unix.Write(w.write, token[:]); err != unix.EINTR {
			return
		}
	}
}

func (w *waker) clear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.set || w.closed {
		return
	}
	w.set = false
	var token [8]byte
	for {
		if _, err := unix.Read(w.read, token[:]); err != unix.EINTR {
			return
		}
	}
}

func (w *waker) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	w.closed = true
	_ = unix.Close(w.read)
	if w.write != w.read {
		_ = unix.Close(w.write)
	}
}
