package zmqio

import (
	"context"
	"errors"
	"math/rand/v2"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A restarted broker should be found at once, a missing one not hammered, and not
// by all its clients at the same moment.
const (
	redialFirst = 2 * time.Millisecond
	redialMost  = time.Second
	// resolveWithin is how long the system may take for the address of a name.
	resolveWithin = 3 * time.Second
)

var errToItself = errors.New("zmqio: the connection leads to itself")

// dialing is how a DEALER gets and keeps its one connection.
//
//	waiting ─at→ resolving ─→ a link, connecting → … → flowing
//	   ↑             │                  │                │
//	   └─ twice as ──┴──────────────────┴────────────────┘
//	      long, or anew where something had come
type dialing struct {
	at       time.Time     // when to try again
	interval time.Duration // the last wait; 0 after a connection that stood
	stood    bool          // it has stood before
}

// redial has the loop try again after a while. For the loop goroutine only.
func (s *socket) redial() {
	d := &s.dialing
	d.interval = min(max(2*d.interval, redialFirst), redialMost)
	d.at = s.loop.Time().Add(d.interval/2 + rand.N(d.interval))
	s.loop.dialers = append(s.loop.dialers, s)
}

// dialDue starts the connections whose time has come, and returns when the next
// one's will.
func (l *Loop) dialDue(now time.Time) (next time.Time) {
	kept := l.dialers[:0]
	due := l.due[:0]
	for _, s := range l.dialers {
		if s.dialing.at.After(now) {
			kept = append(kept, s)
		} else {
			due = append(due, s)
		}
	}
	clear(l.dialers[len(kept):])
	l.dialers = kept
	for _, s := range due {
		s.dial()
	}
	for _, s := range l.dialers { // also those that have failed at once
		if next.IsZero() || s.dialing.at.Before(next) {
			next = s.dialing.at
		}
	}
	clear(due)
	l.due = due[:0]
	return next
}

// dial begins a connection. For the loop goroutine only.
func (s *socket) dial() {
	if a, found := located(s.endpoint, false); found {
		s.connect(a)
		return
	}
	l := s.loop
	l.resolving.Go(func() {
		ctx, cancel := context.WithTimeout(l.living, resolveWithin)
		defer cancel()
		a, err := resolve(ctx, s.endpoint, false)
		l.Do(func() {
			if err != nil {
				s.missed()
				return
			}
			s.connect(a)
		})
	})
}

// missed has a socket that is still of use try again.
func (s *socket) missed() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.leaving.IsZero() {
		s.redial()
	}
}

func (s *socket) connect(a address) {
	fd, err := newStream(a.family)
	if err == nil {
		err = unix.Connect(fd, a.at)
	}
	underWay := errors.Is(err, unix.EINPROGRESS) || errors.Is(err, unix.EINTR)
	if err != nil && !underWay {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
		s.missed()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !s.leaving.IsZero() {
		_ = unix.Close(fd)
		return
	}
	s.begin(fd, connecting, nil) // the poller tells at once where it stands already
}

// connected judges a connection that was under way.
func connected(fd int) error {
	failure, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		return err
	case failure != 0:
		return syscall.Errno(failure)
	case toItself(fd):
		return errToItself
	}
	return nil
}
