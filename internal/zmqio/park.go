package zmqio

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// park puts the loop to sleep until a socket has input, somebody wakes it, or
// the time has come. It announces the nap first and looks for work afterwards,
// sockets before lists: whoever adds work does the reverse, so one of the two
// always sees the other.
func (l *Loop) park(until time.Time) error {
	sockets := *l.sockets.Load()
	l.awake.Store(false)
	defer l.awake.Store(true)
	if l.hasWork(sockets) {
		return nil
	}
	l.count.parks.Add(1)
	return l.sleep(sockets, until)
}

func (l *Loop) hasWork(sockets []*socket) bool {
	for _, s := range sockets {
		if s.hasInput() {
			return true
		}
	}
	for _, s := range sockets {
		if s.dirty.Load() != nil {
			return true
		}
	}
	return l.inbox.waiting.Load() || l.stopping.Load() || l.gathers != nil && l.gathers.Left()
}

// sleep waits in poll(2). A signal shortens nothing and lengthens nothing: what
// is left of the time is worked out again.
func (l *Loop) sleep(sockets []*socket, until time.Time) error {
	l.polled = append(l.polled[:0], unix.PollFd{Fd: l.waker.fd(), Events: unix.POLLIN})
	for _, s := range sockets {
		l.polled = append(l.polled, unix.PollFd{Fd: s.fd, Events: unix.POLLIN})
	}
	for _, s := range sockets {
		if s.outlet.fd > 0 {
			l.polled = append(l.polled, unix.PollFd{Fd: s.outlet.fd, Events: unix.POLLIN})
		}
	}
	for {
		left := time.Until(until)
		if left <= 0 {
			return nil
		}
		_, err := unix.Poll(l.polled, int((left+time.Millisecond-1)/time.Millisecond))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if l.polled[0].Revents != 0 {
			l.waker.clear()
		}
		l.notice(sockets)
		l.heard = err == nil
		return err
	}
}

// notice marks the sockets that have something to say, and those whose monitors
// have. The monitors follow the sockets in what was polled.
func (l *Loop) notice(sockets []*socket) {
	next := 1 + len(sockets)
	for i, s := range sockets {
		s.ready = l.polled[1+i].Revents != 0
		if s.outlet.fd > 0 {
			s.outlet.look = s.outlet.look || l.polled[next].Revents != 0
			next++
		}
	}
}

// wakeIfParked ends the loop's sleep. What it should find is in place before.
func (l *Loop) wakeIfParked() {
	if !l.awake.Load() {
		l.waker.wake()
	}
}
