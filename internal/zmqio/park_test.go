package zmqio

import (
	"context"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// idleLoop is a loop with one connected socket that nobody runs, so that a test
// can take its steps one by one. It ends with the test.
func idleLoop(t *testing.T) (*Loop, *peer) {
	t.Helper()
	l := idleLoopOf(t, &desk{})
	p := l.directory.find(connect(t, l, "tcp://127.0.0.1:1"))
	l.waker.clear()
	l.inbox.take() // the connecting
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

// A sender who finds the loop awake leaves the sending to it: it looks for that
// after it has announced its nap.
func TestParkSeesWhatASenderLeft(t *testing.T) {
	l, p := idleLoop(t)
	if err := l.Send(p.id, []byte("left behind")); err != nil {
		t.Fatal(err)
	}
	if p.socket.dirty.Load() != p {
		t.Fatal("sent although the loop is awake")
	}
	if err := l.park(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n := l.count.parks.Load(); n != 0 {
		t.Error("the loop went to sleep over a dirty peer")
	}
}

// A sender who loses the try-lock to another one is not waited for: the other looks
// again after he has let go.
func TestLosingSenderIsServed(t *testing.T) {
	_, endpoint := echo(t, Options{})
	back := make(chan string, 1)
	l, _ := start(t, &desk{envelope: func(_ wire.Peer, env []byte) { back <- string(env) }}, Options{Tick: time.Hour})
	to := connect(t, l, endpoint)
	s := l.directory.find(to).socket
	for range 100 {
		until(t, "the loop sleeps", func() bool { return !l.awake.Load() })
		func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if err := l.Send(to, []byte("who sends it?")); err != nil {
				t.Fatal(err)
			}
		}()
		s.flushAsSender(false) // as everybody does who has held mu
		await(t, back, "the echo")
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
