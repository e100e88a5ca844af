package zmqio

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// signsAtOnce is how many descriptors one look tells of at most; the others are
// told by the next one.
const signsAtOnce = 128

// poller is epoll(7), level-triggered: what has not been read is told again. Any
// goroutine may add, change and remove; only the loop waits.
type poller struct {
	fd      int
	waker   *waker
	watches watches
	events  [signsAtOnce]unix.EpollEvent
}

func newPoller(w *waker) (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	p := &poller{fd: fd, waker: w}
	event := unix.EpollEvent{Events: unix.EPOLLIN} // its mark is zero
	if err := unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, w.read, &event); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *poller) close() { _ = unix.Close(p.fd) }

// add begins to watch w's descriptor; out asks for room to write too.
func (p *poller) add(w *watch, out bool) error {
	p.watches.enter(w)
	return p.control(unix.EPOLL_CTL_ADD, w, out)
}

func (p *poller) change(w *watch, out bool) error { return p.control(unix.EPOLL_CTL_MOD, w, out) }

// remove ends the watch. It is called before its descriptor is closed.
func (p *poller) remove(w *watch) {
	p.watches.remove(w)
	_ = p.control(unix.EPOLL_CTL_DEL, w, false)
}

func (p *poller) control(operation int, w *watch, out bool) error {
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(uint32(w.mark)), Pad: int32(uint32(w.mark >> 32))}
	if out {
		event.Events |= unix.EPOLLOUT
	}
	return unix.EpollCtl(p.fd, operation, w.fd, &event)
}

// look appends what can be seen without waiting.
func (p *poller) look(signs []sign) ([]sign, error) {
	n, err := unix.EpollWait(p.fd, p.events[:], 0)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return signs, err
	}
	return p.seen(signs, n), nil
}

// wait is look that waits until there is something to see, or until then. A
// signal shortens nothing and lengthens nothing.
func (p *poller) wait(signs []sign, until time.Time) ([]sign, error) {
	for {
		left := time.Until(until)
		if left <= 0 {
			return signs, nil
		}
		n, err := unix.EpollWait(p.fd, p.events[:], int((left+time.Millisecond-1)/time.Millisecond))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return signs, err
		}
		return p.seen(signs, n), nil
	}
}

func (p *poller) seen(signs []sign, n int) []sign {
	if n <= 0 {
		return signs
	}
	p.watches.mu.Lock()
	defer p.watches.mu.Unlock()
	for _, e := range p.events[:n] {
		mark := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
		if mark == 0 {
			p.waker.clear()
			continue
		}
		if w := p.watches.byMark[mark]; w != nil {
			signs = append(signs, sign{w, e.Events&^unix.EPOLLOUT != 0, e.Events&unix.EPOLLOUT != 0})
		}
	}
	return signs
}
