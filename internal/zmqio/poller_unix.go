//go:build unix && !linux

package zmqio

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// poller is poll(2), for clients on systems without epoll(7): a look costs what
// there are descriptors. Any goroutine may add, change and remove; only the loop
// waits, and who changes something while it does wakes it.
type poller struct {
	waker   *waker
	watches watches
	out     map[uint64]bool // guarded by watches.mu: who wants to write

	// the loop's
	asked  []*watch
	polled []unix.PollFd
}

func newPoller(w *waker) (*poller, error) { return &poller{waker: w, out: make(map[uint64]bool)}, nil }

func (p *poller) close() {}

// add begins to watch w's descriptor; out asks for room to write too.
func (p *poller) add(w *watch, out bool) error {
	p.watches.enter(w)
	return p.change(w, out)
}

func (p *poller) change(w *watch, out bool) error {
	p.watches.mu.Lock()
	p.out[w.mark] = out
	p.watches.mu.Unlock()
	p.waker.wake()
	return nil
}

// remove ends the watch. It is called before its descriptor is closed.
func (p *poller) remove(w *watch) {
	p.watches.remove(w)
	p.watches.mu.Lock()
	delete(p.out, w.mark)
	p.watches.mu.Unlock()
	p.waker.wake()
}

// look appends what can be seen without waiting.
func (p *poller) look(signs []sign) ([]sign, error) { return p.poll(signs, 0) }

// wait is look that waits until there is something to see, or until then. A
// signal shortens nothing and lengthens nothing.
func (p *poller) wait(signs []sign, until time.Time) ([]sign, error) {
	for {
		left := time.Until(until)
		if left <= 0 {
			return signs, nil
		}
		signs, err := p.poll(signs, int((left+time.Millisecond-1)/time.Millisecond))
		if !errors.Is(err, unix.EINTR) {
			return signs, err
		}
	}
}

func (p *poller) poll(signs []sign, timeout int) ([]sign, error) {
	p.ask()
	if n, err := unix.Poll(p.polled, timeout); err != nil || n == 0 {
		return signs, err
	}
	if p.polled[0].Revents != 0 {
		p.waker.clear()
	}
	p.watches.mu.Lock()
	defer p.watches.mu.Unlock()
	for i, w := range p.asked {
		seen := p.polled[1+i].Revents
		if seen != 0 && p.watches.byMark[w.mark] == w {
			signs = append(signs, sign{w, seen&^unix.POLLOUT != 0, seen&unix.POLLOUT != 0})
		}
	}
	return signs, nil
}

// ask lists what is to be polled, the waker first.
func (p *poller) ask() {
	p.watches.mu.Lock()
	defer p.watches.mu.Unlock()
	p.asked = p.asked[:0]
	p.polled = append(p.polled[:0], unix.PollFd{Fd: int32(p.waker.read), Events: unix.POLLIN})
	for _, w := range p.watches.byMark {
		p.asked = append(p.asked, w)
	}
	slices.SortFunc(p.asked, func(a, b *watch) int { return cmp.Compare(a.mark, b.mark) })
	for _, w := range p.asked {
		events := int16(unix.POLLIN)
		if p.out[w.mark] {
			events |= unix.POLLOUT
		}
		p.polled = append(p.polled, unix.PollFd{Fd: int32(w.fd), Events: events})
	}
}
