package zmqio

import (
	"context"
	"testing"
	"time"
)

// idleLoop is a loop with one connected socket that nobody runs, so that a test
// can take its steps one by one. It ends with the test.
func idleLoop(t *testing.T) (*Loop, *peer) {
	t.Helper()
	l := idleLoopOf(t, &desk{})
	p := l.directory.find(connect(t, l, "tcp://127.0.0.1:1"))
	l.waker.clear()
	return l, p
}

// idleLoopOf is one for a handler, without a socket.
func idleLoopOf(t *testing.T, h Handler) *Loop {
	t.Helper()
	l, err := NewLoop(h, Options{Linger: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		if err := l.Run(ended); err != nil {
			t.Error(err)
		}
	})
	l.awake.Store(true)
	return l
}

// A sender that loses the try-lock to the loop's last look relies on that look:
// the loop has announced its nap before, and looks at the dirty list after.
func TestParkSeesWhatALosingSenderLeft(t *testing.T) {
	l, p := idleLoop(t)
	parked := make(chan error, 1)
	func() {
		p.socket.mu.Lock()
		defer p.socket.mu.Unlock()
		go func() { parked <- l.park(time.Now().Add(patience)) }()
		until(t, "the loop announces its nap before it looks for work", func() bool { return !l.awake.Load() })
		if err := l.Send(p.id, []byte("left behind")); err != nil {
			t.Fatal(err)
		}
		if p.socket.dirty.Load() != p {
			t.Fatal("sent although the lock was taken")
		}
	}()
	if err := await(t, parked, "the end of the nap"); err != nil {
		t.Fatal(err)
	}
	if n := l.count.parks.Load(); n != 0 {
		t.Error("the loop went to sleep over a dirty peer")
	}
}

// Each of these alone ends the sleep of a loop, or prevents it.
func TestParkEnds(t *testing.T) {
	for name, disturb := range map[string]func(*Loop){
		"Do":      func(l *Loop) { l.Do(func() {}) },
		"Connect": func(l *Loop) { _, _ = l.Connect("tcp://127.0.0.1:2") },
		"gone":    func(l *Loop) { l.inbox.addGone(1); l.wakeIfParked() },
		"failure": func(l *Loop) { l.stopping.Store(true); l.wakeIfParked() },
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := idleLoop(t)
			parked := make(chan error, 1)
			go func() { parked <- l.park(time.Now().Add(time.Hour)) }()
			until(t, "the loop announces its nap", func() bool { return !l.awake.Load() })
			disturb(l)
			if err := await(t, parked, "the end of the nap"); err != nil {
				t.Fatal(err)
			}
			if !l.awake.Load() {
				t.Error("the loop does not know that it is awake")
			}
		})
	}
}

func TestWakerHoldsOneToken(t *testing.T) {
	w, err := newWaker()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		w.wake()
		w.wake()
		w.clear()
		w.clear()
	}
	w.close()
	w.close()
	w.wake()
	w.clear()
}

// A socket that libzmq has found empty is not asked again before ZMQ_FD has fired,
// and it does fire for what comes after that look, however late the loop sleeps.
func TestEmptySocketSpeaksUp(t *testing.T) {
	_, endpoint := echo(t, Options{})
	l, _ := idleLoop(t)
	p := l.directory.find(connect(t, l, endpoint))
	s := p.socket
	take := func(silent bool) int {
		batch, _, err := s.receive(nil, silent)
		if err != nil {
			t.Fatal(err)
		}
		return len(batch)
	}
	for round := range 20 {
		if err := l.Send(p.id, []byte("come back")); err != nil {
			t.Fatal(err)
		}
		s.flushAsOwner()
		if s.settled {
			t.Fatal("a send may have eaten the edge of ZMQ_FD, and the socket passes for empty")
		}
		if s.hasInput() {
			take(false)
			continue
		}
		if n := take(true); n != 0 {
			t.Fatalf("round %d: %d messages of a socket that nothing was known of", round, n)
		}
		for s.ready = false; !s.ready; {
			if err := l.sleep([]*socket{s}, time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			if s.ready && take(false) == 0 { // libzmq speaks of more than messages
				s.ready = false
			}
		}
	}
}
