package zmqio

import (
	"bytes"
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// patience bounds waits for events that do come; reaching it is a failure.
const patience = 2 * time.Minute

// desk is a Handler whose reactions a test fills in. Nil ones do nothing.
type desk struct {
	lent      bool // envelope gets what the loop has, and keeps nothing of it; else a copy
	envelope  func(from wire.Peer, env []byte)
	malformed func(from wire.Peer, err error)
	gone      func(peer wire.Peer)
	tick      func(now time.Time)
}

func (d *desk) Envelope(from wire.Peer, env []byte) {
	if d.envelope != nil {
		if !d.lent {
			env = bytes.Clone(env)
		}
		d.envelope(from, env)
	}
}

func (d *desk) Malformed(from wire.Peer, err error) {
	if d.malformed != nil {
		d.malformed(from, err)
	}
}

func (d *desk) Gone(peer wire.Peer) {
	if d.gone != nil {
		d.gone(peer)
	}
}

func (d *desk) Tick(now time.Time) {
	if d.tick != nil {
		d.tick(now)
	}
}

// start runs a loop until the test ends, or until stop is called.
func start(t testing.TB, h Handler, o Options) (l *Loop, stop func()) {
	t.Helper()
	l, err := NewLoop(h, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			buf := make([]byte, 1<<20)
			t.Errorf("Run does not return:\n%s", buf[:runtime.Stack(buf, true)])
		}
	})
	t.Cleanup(stop)
	return l, stop
}

// echo starts a loop that listens and returns every envelope to its sender.
func echo(t testing.TB, o Options) (*Loop, string) {
	t.Helper()
	d := &desk{lent: true}
	l, _ := start(t, d, o)
	d.envelope = func(from wire.Peer, env []byte) { _ = l.Send(from, env) }
	return l, listen(t, l)
}

func listen(t testing.TB, l *Loop) string {
	t.Helper()
	endpoint, err := l.Listen("tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return endpoint
}

func connect(t testing.TB, l *Loop, endpoint string) wire.Peer {
	t.Helper()
	p, err := l.Connect(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func await[T any](t testing.TB, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		buf := make([]byte, 1<<20)
		t.Fatalf("nothing came: %s\n%s", what, buf[:runtime.Stack(buf, true)])
		panic("unreachable")
	}
}

// until gives way to others until the condition holds.
func until(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// raw makes a plain libzmq socket that connects to endpoint, in a context of
// its own, as a program in another language would.
func raw(t testing.TB, kind zmq.Type, endpoint string, settings ...func(*zmq.Socket) error) *zmq.Socket {
	t.Helper()
	c, err := zmq.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.NewSocket(kind)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Close()
		_ = c.Term()
	})
	settings = append(settings,
		func(s *zmq.Socket) error { return s.SetLinger(0) },
		func(s *zmq.Socket) error { return s.SetRcvtimeo(patience) },
		func(s *zmq.Socket) error { return s.Connect(endpoint) })
	for _, set := range settings {
		if err := set(s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func body(envelopes ...string) []byte {
	b := wire.AppendHead(nil)
	for _, e := range envelopes {
		b = wire.AppendEnvelope(b, []byte(e))
	}
	return b
}

func unbody(t testing.TB, frame []byte) (envelopes []string) {
	t.Helper()
	split, err := wire.Split(frame)
	if err != nil {
		t.Fatal(err)
	}
	for env, ok := split.Next(); ok; env, ok = split.Next() {
		envelopes = append(envelopes, string(env))
	}
	if split.Err() != nil {
		t.Fatal(split.Err())
	}
	return envelopes
}
