package tests

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	zmq "github.com/pebbe/zmq4"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// stranger is a plain ZeroMQ socket that says whatever a test wants.
type stranger struct {
	t      testing.TB
	socket *zmq.Socket
	heard  [][]byte // envelopes that came and were not asked for yet
	from   []byte   // of a ROUTER: who spoke last
}

func newStranger(t testing.TB, kind zmq.Type, use func(*zmq.Socket) error) *stranger {
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
		for errors.Is(c.Term(), zmq.Errno(syscall.EINTR)) {
			continue
		}
	})
	for _, err := range []error{s.SetLinger(0), s.SetRcvtimeo(long), s.SetSndtimeo(long), use(s)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return &stranger{t: t, socket: s}
}

// connectStranger is a DEALER that nobody knows.
func connectStranger(t testing.TB, url string) *stranger {
	t.Helper()
	return newStranger(t, zmq.DEALER, func(s *zmq.Socket) error { return s.Connect(url) })
}

// send sends one message of these frames.
func (s *stranger) send(frames ...[]byte) {
	s.t.Helper()
	parts := make([]any, 0, len(frames)+1)
	if s.from != nil {
		parts = append(parts, s.from)
	}
	for _, f := range frames {
		parts = append(parts, f)
	}
	for {
		_, err := s.socket.SendMessage(parts...)
		if err == nil {
			return
		}
		if !errors.Is(err, zmq.Errno(syscall.EINTR)) {
			s.t.Fatal(err)
		}
	}
}

// frame puts envelopes into one body frame.
func frame(envelopes ...[]byte) []byte {
	f := wire.AppendHead(nil)
	for _, e := range envelopes {
		f = wire.AppendEnvelope(f, e)
	}
	return f
}

func control(m wire.Control) []byte { return wire.AppendControl(nil, m) }

// tell sends one control message.
func (s *stranger) tell(m wire.Control) { s.t.Helper(); s.send(frame(control(m))) }

// hear returns the next envelope.
func (s *stranger) hear() []byte {
	s.t.Helper()
	for len(s.heard) == 0 {
		parts, err := s.socket.RecvMessageBytes(0)
		if errors.Is(err, zmq.Errno(syscall.EINTR)) {
			continue
		}
		if err != nil {
			s.t.Fatalf("nothing came: %v", err)
		}
		if kind, _ := s.socket.GetType(); kind == zmq.ROUTER {
			s.from, parts = parts[0], parts[1:]
		}
		if body := parts[len(parts)-1]; len(body) == 0 {
			continue // the greeting of a connection that has just come up
		}
		envelopes, err := wire.Split(parts[len(parts)-1])
		for env, ok := envelopes.Next(); ok; env, ok = envelopes.Next() {
			s.heard = append(s.heard, env)
		}
		if err != nil || envelopes.Err() != nil {
			s.t.Fatal(err, envelopes.Err())
		}
	}
	env := s.heard[0]
	s.heard = s.heard[1:]
	return env
}

// hearKind returns the next envelope of a kind, and drops what comes before.
func (s *stranger) hearKind(k wire.Kind) []byte {
	s.t.Helper()
	for deadline := time.Now().Add(long); time.Now().Before(deadline); {
		if env := s.hear(); wire.KindOf(env) == k {
			return env
		}
	}
	s.t.Fatalf("no %s came", k)
	return nil
}

// hearControl returns the next control message of M's kind.
func hearControl[M wire.Control](s *stranger) M {
	s.t.Helper()
	var none M
	m, err := wire.ParseControl(s.hearKind(none.Kind()))
	if err != nil {
		s.t.Fatal(err)
	}
	return m.(M)
}

// hearHeader returns the next envelope of a kind as a session message.
func (s *stranger) hearHeader(k wire.Kind) (wire.Header, []byte) {
	s.t.Helper()
	h, rest, err := wire.ParseHeader(s.hearKind(k))
	if err != nil {
		s.t.Fatal(err)
	}
	return h, rest
}

// sessionMessage is a session message with a body that is not MessagePack.
func sessionMessage(h wire.Header, body ...byte) []byte { return append(h.Append(nil), body...) }

func callMessage(h wire.Header, method string, arg byte) []byte {
	return wire.AppendCall(nil, &h, method, []byte{arg})
}

// openRaw opens a session as a client of another language would.
func (s *stranger) openRaw(pool string) *wire.Opened {
	s.t.Helper()
	s.tell(&wire.Open{Client: uuid.New(), Request: uuid.New(), Pool: pool})
	return hearControl[*wire.Opened](s)
}

// connectTCP is a connection that does not speak ZMTP.
func connectTCP(t testing.TB, url string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "tcp://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(long)); err != nil {
		t.Fatal(err)
	}
	return c
}

// holderOf is the header of the holder of a session that was opened raw.
func holderOf(o *wire.Opened) wire.Header {
	return wire.Header{Node: o.Node, Session: o.Session, Key: o.Key, Epoch: o.Epoch}
}

// answerTo is what a session message of some kind is answered with where it is
// refused.
func answerTo(k wire.Kind) wire.Kind {
	switch k {
	case wire.KindClose:
		return wire.KindClosed
	case wire.KindLease:
		return wire.KindLeased
	default:
		return wire.KindFail
	}
}
