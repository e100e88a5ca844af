package zmqio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	zmq "github.com/pebbe/zmq4"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// complaint is one call of Handler.Malformed.
type complaint struct {
	from wire.Peer
	err  error
}

// complaining starts an echo that also hands out what it found malformed.
func complaining(t *testing.T) (*Loop, string, chan complaint) {
	t.Helper()
	complaints := make(chan complaint, 100)
	d := &desk{malformed: func(from wire.Peer, err error) { complaints <- complaint{from, err} }}
	l, _ := start(t, d, Options{})
	d.envelope = func(from wire.Peer, env []byte) { _ = l.Send(from, env) }
	return l, listen(t, l), complaints
}

// ask has a good message echoed, which shows that nothing before it did harm.
func ask(t *testing.T, s *zmq.Socket, what string) {
	t.Helper()
	if _, err := s.SendMessage(body(what)); err != nil {
		t.Fatal(err)
	}
	reply, err := s.RecvMessageBytes(0)
	if err != nil {
		t.Fatal(err)
	}
	if got := unbody(t, reply[len(reply)-1]); len(got) != 1 || got[0] != what {
		t.Errorf("echo %q, want %q", got, what)
	}
}

func TestMalformedMessages(t *testing.T) {
	many := make([]any, 5000)
	for i := range many {
		many[i] = bytes.Repeat([]byte{'x'}, 100)
	}
	cut := body("whole")
	cut = append(cut, 0, 0, 1, 0, 'c', 'u', 't')
	cases := []struct {
		name  string
		parts []any
		want  error
	}{
		{"empty body", []any{""}, ErrNoBody},
		{"delimiter and empty body", []any{"", ""}, ErrNoBody},
		{"body and more", []any{body("a"), body("b")}, ErrExtraFrames},
		{"body and empty", []any{body("a"), ""}, ErrExtraFrames},
		{"delimiter, body and more", []any{"", body("a"), "b"}, ErrExtraFrames},
		{"three empty", []any{"", "", ""}, ErrExtraFrames},
		{"thousands of parts", many, ErrExtraFrames},
		{"no head", []any{"hello"}, wire.ErrFrame},
		{"head only", []any{wire.AppendHead(nil)}, wire.ErrFrame},
		{"other version", []any{"LMP\xff"}, wire.ErrFrameVersion},
		{"cut length", []any{append(body("a"), 0, 0)}, wire.ErrFrame},
		{"cut envelope", []any{cut}, wire.ErrFrame},
		{"huge length", []any{append(wire.AppendHead(nil), 0xff, 0xff, 0xff, 0xff)}, wire.ErrFrame},
		{"empty envelope", []any{append(wire.AppendHead(nil), 0, 0, 0, 0)}, wire.ErrFrame},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, endpoint, complaints := complaining(t)
			dealer, bystander := raw(t, zmq.DEALER, endpoint), raw(t, zmq.DEALER, endpoint)
			ask(t, dealer, "good day") // the first message may be empty: see Greeter
			for range 2 {
				if _, err := dealer.SendMessage(c.parts...); err != nil {
					t.Fatal(err)
				}
				got := await(t, complaints, "Malformed")
				if !errors.Is(got.err, c.want) || got.from == 0 {
					t.Errorf("from %d: %v, want %v", got.from, got.err, c.want)
				}
			}
			ask(t, bystander, "undisturbed")
			if strings.HasPrefix(c.name, "cut") {
				// What preceded the fault was good and is answered.
				for range 2 {
					if _, err := dealer.RecvMessageBytes(0); err != nil {
						t.Fatal(err)
					}
				}
			}
			ask(t, dealer, "better now")
			if n := len(complaints); n != 0 {
				t.Errorf("%d further complaints: %v", n, (<-complaints).err)
			}
		})
	}
}

func TestMalformedAnswersFromAListener(t *testing.T) {
	c, err := zmq.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	router, err := c.NewSocket(zmq.ROUTER)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = router.SetLinger(0)
		_ = router.Close()
		_ = c.Term()
	})
	_ = router.SetRcvtimeo(patience)
	if err := router.Bind("tcp://127.0.0.1:*"); err != nil {
		t.Fatal(err)
	}
	endpoint, _ := router.GetLastEndpoint()

	complaints, got := make(chan complaint, 10), make(chan string, 10)
	l, _ := start(t, &desk{
		envelope:  func(_ wire.Peer, env []byte) { got <- string(env) },
		malformed: func(from wire.Peer, err error) { complaints <- complaint{from, err} },
	}, Options{})
	to := connect(t, l, endpoint)
	if err := l.Send(to, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	hello, err := router.RecvMessageBytes(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, parts := range [][]any{{"a", "b", "c"}, {""}, {"junk"}} {
		if _, err := router.SendMessage(append([]any{hello[0]}, parts...)...); err != nil {
			t.Fatal(err)
		}
		if c := await(t, complaints, "Malformed"); c.from != to {
			t.Errorf("from %d, want %d", c.from, to)
		}
	}
	for _, parts := range [][]any{{body("plain")}, {"", body("delimited")}} {
		if _, err := router.SendMessage(append([]any{hello[0]}, parts...)...); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"plain", "delimited"} {
		if s := await(t, got, want); s != want {
			t.Errorf("got %q, want %q", s, want)
		}
	}
}

// Sockets of other kinds, and programs that speak no ZMTP, meet the same port.
func TestStrangersAtThePort(t *testing.T) {
	_, endpoint := echo(t, Options{})
	good := raw(t, zmq.DEALER, endpoint)
	ask(t, good, "before")
	for _, kind := range []zmq.Type{zmq.SUB, zmq.PUB, zmq.PUSH, zmq.PULL, zmq.REP, zmq.PAIR, zmq.ROUTER, zmq.XPUB} {
		s := raw(t, kind, endpoint)
		_, _ = s.SendBytes(body("misplaced"), zmq.DONTWAIT)
	}
	address := strings.TrimPrefix(endpoint, "tcp://")
	for name, said := range map[string][]byte{
		"http":          []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"tls":           {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3},
		"garbage":       bytes.Repeat([]byte{0xde, 0xad, 0xbe, 0xef}, 10_000),
		"zeros":         make([]byte, 10_000),
		"half greeting": {0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3},
		"greeting only": zmtpGreeting(),
	} {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(name, err)
		}
		if _, err := conn.Write(said); err != nil {
			t.Fatal(name, err)
		}
		if name != "half greeting" {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
		t.Cleanup(func() { _ = conn.Close() })
		ask(t, good, "during "+name)
	}
	// A length of 2^63-1: refused before a byte of it is held.
	if _, err := shakeHands(t, endpoint).Write([]byte{0x02, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	ask(t, good, "during a huge frame")
	ask(t, raw(t, zmq.DEALER, endpoint), "a newcomer")
}

// zmtpGreeting is what a ZMTP 3 peer with the NULL mechanism says first.
func zmtpGreeting() []byte {
	g := make([]byte, 64)
	g[0], g[9], g[10] = 0xff, 0x7f, 3
	copy(g[12:], "NULL")
	return g
}

func TestOversizedFrameCostsOnlyItsConnection(t *testing.T) {
	came := make(chan wire.Peer, 10)
	gone := make(chan wire.Peer, 10)
	d := &desk{gone: func(p wire.Peer) { gone <- p }}
	l, _ := start(t, d, Options{})
	d.envelope = func(from wire.Peer, env []byte) {
		if string(env) == "big soon" {
			came <- from
		}
		_ = l.Send(from, env)
	}
	endpoint := listen(t, l)
	good, big := raw(t, zmq.DEALER, endpoint), raw(t, zmq.DEALER, endpoint)
	ask(t, good, "before")
	ask(t, big, "big soon")
	p := await(t, came, "the peer")
	if _, err := big.SendBytes(make([]byte, wire.MaxFrame+1), 0); err != nil {
		t.Fatal(err)
	}
	var err error
	until(t, "the connection is closed", func() bool {
		err = l.Send(p, []byte("still there?"))
		return err != nil && !errors.Is(err, ErrFull)
	})
	if !errors.Is(err, ErrPeerGone) {
		t.Fatal(err)
	}
	if got := await(t, gone, "Gone"); got != p {
		t.Errorf("%d gone, want %d", got, p)
	}
	ask(t, good, "after")
}

func TestForeignIdentities(t *testing.T) {
	_, endpoint := echo(t, Options{})
	for i, identity := range []string{"x", "\x01\x00\xff", strings.Repeat("i", 255)} {
		s := raw(t, zmq.DEALER, endpoint, func(s *zmq.Socket) error { return s.SetIdentity(identity) })
		ask(t, s, fmt.Sprint("identity ", i))
	}
	// Who takes an identity that is in use gets nothing, and takes nothing away.
	first := raw(t, zmq.DEALER, endpoint, func(s *zmq.Socket) error { return s.SetIdentity("mine") })
	ask(t, first, "mine")
	thief := raw(t, zmq.DEALER, endpoint, func(s *zmq.Socket) error { return s.SetIdentity("mine") })
	_, _ = thief.SendBytes(body("mine too"), 0)
	ask(t, first, "still mine")
}

// libzmq holds every part of a message until the last one is there. A message
// that never ends must not fill the memory, and costs only its connection.
func TestMessageWithoutEnd(t *testing.T) {
	complaints := make(chan complaint, 10)
	d := &desk{malformed: func(from wire.Peer, err error) { complaints <- complaint{from, err} }}
	l, _ := start(t, d, Options{Unfinished: 1 << 20})
	d.envelope = func(from wire.Peer, env []byte) { _ = l.Send(from, env) }
	endpoint := listen(t, l)
	good := raw(t, zmq.DEALER, endpoint)
	ask(t, good, "before")

	for _, introduced := range []bool{false, true} {
		conn := shakeHands(t, endpoint)
		if introduced {
			whole := body("hello")
			if _, err := conn.Write(append([]byte{0, byte(len(whole))}, whole...)); err != nil {
				t.Fatal(err)
			}
		}
		part := append([]byte{1, 200}, make([]byte, 200)...)
		var writing sync.WaitGroup
		writing.Go(func() { // the kernel may take a minute to tell that nobody reads any more
			for err := error(nil); err == nil; {
				_, err = conn.Write(part)
			}
		})
		c := await(t, complaints, "Malformed")
		_ = conn.Close()
		writing.Wait()
		if !errors.Is(c.err, ErrUnfinished) || introduced != (c.from != 0) {
			t.Errorf("introduced %v: from %d: %v", introduced, c.from, c.err)
		}
		ask(t, good, "after")
	}
	if n := l.Stats().Cut; n != 2 {
		t.Errorf("%d connections cut, want 2", n)
	}
}

// shakeHands connects as a ZMTP 3 DEALER that then says what the test wants.
func shakeHands(t *testing.T, endpoint string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(endpoint, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ready := "\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
	answer := make([]byte, 64, 256) // the far side's greeting, then its READY
	for _, said := range [][]byte{zmtpGreeting(), append([]byte{4, byte(len(ready))}, ready...)} {
		if _, err := conn.Write(said); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, answer); err != nil {
			t.Fatal(err)
		}
		answer = answer[:2+len("\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER")]
	}
	return conn
}

// However much a connection sends in whole messages, it is not cut for it.
func TestWholeMessagesAreNeverCut(t *testing.T) {
	server, _ := start(t, &desk{}, Options{Unfinished: 1 << 20})
	endpoint := listen(t, server)
	client, _ := start(t, &desk{}, Options{})
	to := connect(t, client, endpoint)
	env := make([]byte, 200_000)
	for server.Stats().BytesIn < 200<<20 {
		if err := client.Send(to, env); err != nil && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}
	if s := server.Stats(); s.Cut != 0 || s.Malformed != 0 {
		t.Errorf("%d cut, %d malformed", s.Cut, s.Malformed)
	}
}
