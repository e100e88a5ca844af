package zmqio

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/limpet-rpc/limpet/internal/wire"
)

func TestEveryEnvelopeArrivesOnceAndInOrder(t *testing.T) {
	const senders, each = 50, 2000
	_, endpoint := echo(t, Options{})

	next := make([]uint64, senders) // owned by the loop
	left := senders * each
	done := make(chan error, 1)
	l, _ := start(t, &desk{envelope: func(_ wire.Peer, env []byte) {
		sender, number := binary.BigEndian.Uint32(env), binary.BigEndian.Uint64(env[4:])
		if number != next[sender] {
			done <- fmt.Errorf("sender %d: got %d, want %d", sender, number, next[sender])
		}
		next[sender]++
		if left--; left == 0 {
			done <- nil
		}
	}}, Options{PeerBuffer: 64 << 20})
	to := connect(t, l, endpoint)

	var all sync.WaitGroup
	for sender := range senders {
		all.Go(func() {
			send := [...]func(wire.Peer, []byte) error{l.Send, l.SendPinned, l.SendSoon}[sender%3]
			for number := range uint64(each) {
				env := make([]byte, 12+number%200)
				binary.BigEndian.PutUint32(env, uint32(sender))
				binary.BigEndian.PutUint64(env[4:], number)
				if err := send(to, env); err != nil {
					t.Errorf("sender %d, number %d: %v", sender, number, err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := await(t, done, "the last echo"); err != nil {
		t.Fatal(err)
	}
	counted := make(chan struct{})
	l.Do(func() { close(counted) }) // after the frame that the last one came in
	await(t, counted, "the loop")
	s := l.Stats()
	if s.EnvelopesOut != senders*each || s.EnvelopesIn != senders*each {
		t.Errorf("%d envelopes out and %d in, want %d", s.EnvelopesOut, s.EnvelopesIn, senders*each)
	}
	if s.FramesOut >= s.EnvelopesOut/2 {
		t.Errorf("%d envelopes took %d frames: no coalescing", s.EnvelopesOut, s.FramesOut)
	}
}

// What a handler has flushed arrives while it goes on: it would wait for minutes here.
func TestFlushBeforeTheEndOfATurn(t *testing.T) {
	heard := make(chan string, 1)
	server, _ := start(t, &desk{envelope: func(_ wire.Peer, env []byte) { heard <- string(env) }}, Options{})
	l, _ := start(t, &desk{}, Options{})
	to := connect(t, l, listen(t, server))
	if err := l.Send(to, []byte("first")); err != nil { // there is a connection then
		t.Fatal(err)
	}
	await(t, heard, "the first")
	done := make(chan struct{})
	l.Do(func() {
		defer close(done)
		if err := l.Send(to, []byte("second")); err != nil {
			t.Error(err)
		}
		l.Flush()
		select {
		case got := <-heard:
			if got != "second" {
				t.Errorf("got %q", got)
			}
		case <-time.After(patience):
			t.Error("it has not left")
		}
	})
	await(t, done, "the handler")
}

// TestSendSoonWakesTheLoop would wait for an hour if the loop slept on.
func TestSendSoonWakesTheLoop(t *testing.T) {
	_, endpoint := echo(t, Options{Tick: time.Hour})
	got := make(chan string, 1)
	l, _ := start(t, &desk{envelope: func(_ wire.Peer, env []byte) { got <- string(env) }}, Options{Tick: time.Hour})
	to := connect(t, l, endpoint)
	for i := range 20 {
		for l.Awake() {
			runtime.Gosched()
		}
		want := fmt.Sprint("number ", i)
		if err := l.SendSoon(to, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if back := await(t, got, "the echo"); back != want {
			t.Errorf("%q came back for %q", back, want)
		}
	}
}

func TestLargestEnvelope(t *testing.T) {
	_, endpoint := echo(t, Options{})
	got := make(chan []byte, 1)
	l, _ := start(t, &desk{envelope: func(_ wire.Peer, env []byte) { got <- env }}, Options{})
	to := connect(t, l, endpoint)
	env := make([]byte, wire.MaxEnvelope)
	env[0], env[len(env)-1] = 1, 2
	if err := l.Send(to, env); err != nil {
		t.Fatal(err)
	}
	if back := await(t, got, "the echo"); string(back) != string(env) {
		t.Error("came back changed")
	}
	for _, env := range [][]byte{nil, make([]byte, wire.MaxEnvelope+1)} {
		if err := l.Send(to, env); !errors.Is(err, ErrSize) {
			t.Errorf("envelope of %d bytes: %v, want ErrSize", len(env), err)
		}
	}
}

func TestPlainREQ(t *testing.T) {
	_, endpoint := echo(t, Options{})
	req := raw(t, zmq.REQ, endpoint)
	for i := range 3 {
		want := fmt.Sprint("question ", i)
		if _, err := req.SendBytes(body(want), 0); err != nil {
			t.Fatal(err)
		}
		reply, err := req.RecvBytes(0)
		if err != nil {
			t.Fatal(err)
		}
		if got := unbody(t, reply); len(got) != 1 || got[0] != want {
			t.Errorf("reply %q, want %q", got, want)
		}
	}
}

func TestNoDelimiterForWhoSentNone(t *testing.T) {
	_, endpoint := echo(t, Options{})
	dealer := raw(t, zmq.DEALER, endpoint)
	for _, request := range [][]any{{body("plain")}, {"", body("delimited")}, {body("plain")}} {
		if _, err := dealer.SendMessage(request...); err != nil {
			t.Fatal(err)
		}
		reply, err := dealer.RecvMessageBytes(0)
		if err != nil {
			t.Fatal(err)
		}
		if len(reply) != len(request) {
			t.Errorf("%d frames came back for %d", len(reply), len(request))
		}
	}
}

func TestPeerGone(t *testing.T) {
	came := make(chan wire.Peer, 1)
	gone := make(chan wire.Peer, 10)
	l, _ := start(t, &desk{
		envelope: func(from wire.Peer, _ []byte) { came <- from },
		gone:     func(p wire.Peer) { gone <- p },
	}, Options{})
	endpoint := listen(t, l)
	dealer := raw(t, zmq.DEALER, endpoint)
	if _, err := dealer.SendBytes(body("here"), 0); err != nil {
		t.Fatal(err)
	}
	p := await(t, came, "the greeting")
	if err := dealer.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	until(t, "sending to a closed socket fails", func() bool {
		err = l.Send(p, []byte("anybody?"))
		return err != nil
	})
	if !errors.Is(err, ErrPeerGone) {
		t.Errorf("Send to a gone peer: %v", err)
	}
	if got := await(t, gone, "Gone"); got != p {
		t.Errorf("peer %d gone, want %d", got, p)
	}
	if n := l.Stats().Peers; n != 0 {
		t.Errorf("%d peers left", n)
	}
}

func TestIdlePeersAreForgotten(t *testing.T) {
	came := make(chan wire.Peer, 1)
	gone := make(chan wire.Peer, 10)
	l, _ := start(t, &desk{
		envelope: func(from wire.Peer, _ []byte) { came <- from },
		gone:     func(p wire.Peer) { gone <- p },
	}, Options{PeerIdle: time.Millisecond, Tick: time.Millisecond})
	dealer := raw(t, zmq.DEALER, listen(t, l))
	var last wire.Peer
	for range 2 {
		if _, err := dealer.SendBytes(body("here"), 0); err != nil {
			t.Fatal(err)
		}
		p := await(t, came, "the message")
		if p == last {
			t.Errorf("number %d was used again", p)
		}
		if got := await(t, gone, "Gone"); got != p {
			t.Errorf("peer %d gone, want %d", got, p)
		}
		if err := l.Send(p, []byte("x")); !errors.Is(err, ErrPeerGone) {
			t.Errorf("Send to a forgotten peer: %v", err)
		}
		last = p
	}
}

func TestOldestPeerMakesRoom(t *testing.T) {
	came := make(chan wire.Peer, 1)
	gone := make(chan wire.Peer, 10) // at the end the others too
	l, _ := start(t, &desk{
		envelope: func(from wire.Peer, _ []byte) { came <- from },
		gone:     func(p wire.Peer) { gone <- p },
	}, Options{MaxPeers: 2, Tick: time.Microsecond})
	endpoint := listen(t, l)
	speak := func(s *zmq.Socket) wire.Peer {
		if _, err := s.SendBytes(body("here"), 0); err != nil {
			t.Fatal(err)
		}
		return await(t, came, "the message")
	}
	a, b, c := raw(t, zmq.DEALER, endpoint), raw(t, zmq.DEALER, endpoint), raw(t, zmq.DEALER, endpoint)
	first := speak(a)
	second := speak(b)
	if again := speak(a); again != first {
		t.Fatalf("a known peer has got another number")
	}
	speak(c)
	if got := await(t, gone, "Gone"); got != second {
		t.Errorf("%d made room, want %d, which was silent longest", got, second)
	}
	if n := l.Stats().Peers; n != 2 {
		t.Errorf("%d peers, want 2", n)
	}
}

// A peer that takes nothing fills its own buffer and nobody else's. What shows
// that nobody waits for it is that others are served while its buffer is full.
func TestStalledPeer(t *testing.T) {
	const buffer = 1 << 20
	came := make(chan wire.Peer, 1)
	d := &desk{}
	l, _ := start(t, d, Options{PeerBuffer: buffer})
	d.envelope = func(from wire.Peer, env []byte) {
		if string(env) == "stall" {
			came <- from
			return
		}
		_ = l.Send(from, env)
	}
	endpoint := listen(t, l)
	lazy := raw(t, zmq.DEALER, endpoint,
		func(s *zmq.Socket) error { return s.SetRcvhwm(1) },
		func(s *zmq.Socket) error { return s.SetRcvbuf(4096) })
	if _, err := lazy.SendBytes(body("stall"), 0); err != nil {
		t.Fatal(err)
	}
	p := await(t, came, "the stalling peer")
	chunk := make([]byte, 100_000)
	sent := 0
	fill := func() {
		for {
			binary.BigEndian.PutUint64(chunk, uint64(sent))
			err := l.Send(p, chunk)
			switch {
			case err == nil:
				sent++
			case !errors.Is(err, ErrFull):
				t.Fatalf("Send to a stalled peer: %v", err)
			case l.Stats().Stalled == 1:
				return
			}
		}
	}
	fill()
	if l.Stats().Dropped == 0 {
		t.Error("the refused envelopes are not counted")
	}

	c := newCallers(t, 8, endpoint, Options{})
	finished := make(chan error, 8)
	for caller := range 8 {
		go func() {
			for i := range uint64(500) {
				if err := c.call(caller, i); err != nil {
					finished <- err
					return
				}
			}
			finished <- nil
		}()
	}
	for range 8 {
		if err := await(t, finished, "a caller beside the stalled peer"); err != nil {
			t.Fatal(err)
		}
	}
	if n := l.Stats().Stalled; n != 1 {
		t.Fatalf("%d peers stalled, want the one that does not read", n)
	}
	fill()

	// Once it reads it gets everything that was accepted, in order.
	for got := 0; got < sent; {
		frame, err := lazy.RecvBytes(0)
		if err != nil {
			t.Fatal(err)
		}
		for _, env := range unbody(t, frame) {
			if n := binary.BigEndian.Uint64([]byte(env)); n != uint64(got) {
				t.Fatalf("envelope %d, want %d", n, got)
			}
			got++
		}
	}
}

func TestSendBeforeTheOtherSideListens(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := "tcp://" + free.Addr().String()
	got := make(chan string, 1)
	l, _ := start(t, &desk{envelope: func(_ wire.Peer, env []byte) { got <- string(env) }}, Options{})
	to := connect(t, l, endpoint)
	if err := l.Send(to, []byte("early")); err != nil {
		t.Fatal(err)
	}
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	d := &desk{}
	server, _ := start(t, d, Options{})
	d.envelope = func(from wire.Peer, env []byte) { _ = server.Send(from, env) }
	if _, err := server.Listen(endpoint); err != nil {
		t.Fatal(err)
	}
	if env := await(t, got, "the echo"); env != "early" {
		t.Errorf("got %q", env)
	}
}

// Everything may be called from a handler, which must not wait for itself.
func TestHandlerMayCallTheLoop(t *testing.T) {
	_, endpoint := echo(t, Options{})
	got := make(chan string, 4)
	d := &desk{}
	l, _ := start(t, d, Options{})
	var to wire.Peer
	d.envelope = func(from wire.Peer, env []byte) {
		got <- string(env)
		if string(env) == "last" {
			l.Disconnect(from)
			l.Do(func() { got <- fmt.Sprint(l.Send(from, []byte("x"))) })
		}
	}
	l.Do(func() {
		var err error
		if to, err = l.Connect(endpoint); err != nil {
			t.Error(err)
		}
		_ = l.Send(to, []byte("first"))
		_ = l.Send(to, []byte("last"))
	})
	for _, want := range []string{"first", "last", ErrPeerGone.Error()} {
		if s := await(t, got, want); s != want {
			t.Errorf("got %q, want %q", s, want)
		}
	}
}

func TestTick(t *testing.T) {
	ticks := make(chan time.Time)
	stop := make(chan struct{})
	start(t, &desk{tick: func(now time.Time) {
		select {
		case ticks <- now:
		case <-stop:
		}
	}}, Options{Tick: time.Millisecond})
	before := await(t, ticks, "a tick of an idle loop")
	for range 3 {
		now := await(t, ticks, "another tick")
		if !now.After(before) {
			t.Errorf("tick at %v after one at %v", now, before)
		}
		before = now
	}
	close(stop)
}

// Beats come from the ticks, so that a flood must not keep them away: here the
// flood never ends before they have come.
func TestTickUnderFlood(t *testing.T) {
	ticks := make(chan struct{}, 1)
	server, _ := start(t, &desk{tick: func(time.Time) {
		select {
		case ticks <- struct{}{}:
		default:
		}
	}}, Options{Tick: time.Millisecond})
	client, _ := start(t, &desk{}, Options{})
	to := connect(t, client, listen(t, server))
	stop := make(chan struct{})
	var flood sync.WaitGroup
	flood.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = client.Send(to, make([]byte, 100))
			}
		}
	})
	for range 20 {
		await(t, ticks, "a tick under flood")
	}
	close(stop)
	flood.Wait()
}

func TestListenErrors(t *testing.T) {
	l, _ := start(t, &desk{}, Options{})
	endpoint := listen(t, l)
	_, err := l.Listen(endpoint)
	if err == nil || !strings.Contains(err.Error(), endpoint) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second Listen on %s: %v", endpoint, err)
	}
	for _, bad := range []string{"", "nonsense", "tcp://", "tcp://127.0.0.1:99999", "http://127.0.0.1:80"} {
		if _, err := l.Listen(bad); err == nil {
			t.Errorf("Listen(%q) succeeded", bad)
		}
		if _, err := l.Connect(bad); err == nil {
			t.Errorf("Connect(%q) succeeded", bad)
		}
	}
	if actual, err := l.Listen("tcp://127.0.0.1:*"); err != nil || strings.Contains(actual, "*") {
		t.Errorf("Listen on any port: %q, %v", actual, err)
	}
}

func TestSendErrors(t *testing.T) {
	d := &desk{}
	l, stop := start(t, d, Options{})
	to := connect(t, l, listen(t, l))
	for _, nobody := range []wire.Peer{0, 1, to + 1, ^wire.Peer(0)} {
		if err := l.Send(nobody, []byte("x")); !errors.Is(err, ErrPeerGone) {
			t.Errorf("Send to %d: %v", nobody, err)
		}
	}
	stop()
	if err := l.Send(to, []byte("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("Send after Run: %v", err)
	}
	if _, err := l.Listen("tcp://127.0.0.1:0"); !errors.Is(err, ErrClosed) {
		t.Errorf("Listen after Run: %v", err)
	}
	if _, err := l.Connect("tcp://127.0.0.1:1"); !errors.Is(err, ErrClosed) {
		t.Errorf("Connect after Run: %v", err)
	}
	l.Disconnect(to)
	l.Do(func() { t.Error("ran after Run") })
	await(t, l.Done(), "Done")
	if err := l.Run(context.Background()); err == nil {
		t.Error("a second Run succeeded")
	}
}

// What was queued when the context ended is still delivered.
func TestRunFlushesAtItsEnd(t *testing.T) {
	const envelopes = 1000
	got := make(chan struct{}, envelopes)
	server, _ := start(t, &desk{envelope: func(wire.Peer, []byte) { got <- struct{}{} }}, Options{})
	d := &desk{}
	l, stop := start(t, d, Options{Linger: patience})
	to := connect(t, l, listen(t, server))
	for range envelopes {
		if err := l.Send(to, make([]byte, 1000)); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	for range envelopes {
		await(t, got, "an envelope sent before the end")
	}
}

func TestRunLeavesNothingBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 3 {
		server, stopServer := start(t, &desk{}, Options{})
		client, stopClient := start(t, &desk{}, Options{Linger: -1})
		to := connect(t, client, listen(t, server))
		connect(t, client, "tcp://127.0.0.1:1") // nobody there
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				for range 100 {
					_ = client.Send(to, []byte("x"))
				}
			})
		}
		stopClient()
		stopServer()
		all.Wait()
	}
	until(t, "the goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

// renewals is a desk that is told of renewed connections.
type renewals struct {
	desk
	peers chan wire.Peer
}

func (r *renewals) Renewed(peer wire.Peer) { r.peers <- peer }

// The ROUTER that is there after a restart hears nothing of those who come back
// before they speak; so they are told that they are back.
func TestConnectionThatIsRenewed(t *testing.T) {
	heard := make(chan struct{}, 100)
	listener := &desk{envelope: func(wire.Peer, []byte) { heard <- struct{}{} }}
	first, stop := start(t, listener, Options{})
	endpoint, err := first.Listen("tcp://127.0.0.1:*")
	if err != nil {
		t.Fatal(err)
	}
	r := &renewals{peers: make(chan wire.Peer, 10)}
	l, err := NewLoop(r, Options{Tick: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	to, err := l.Connect(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	speak := func() {
		if err := l.Send(to, []byte{1}); err != nil {
			t.Fatal(err)
		}
		<-heard
	}
	speak()
	for range 3 {
		stop()
		next, stopNext := start(t, listener, Options{})
		if _, err := next.Listen(endpoint); err != nil {
			t.Fatal(err)
		}
		select {
		case peer := <-r.peers:
			if peer != to {
				t.Errorf("peer %d is renewed, want %d", peer, to)
			}
		case <-time.After(patience):
			t.Fatal("nobody says that the connection is renewed")
		}
		speak()
		stop = stopNext
	}
	if len(r.peers) > 0 {
		t.Errorf("%d renewals too many", len(r.peers))
	}
}
