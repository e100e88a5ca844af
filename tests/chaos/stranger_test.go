package chaos

import (
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	zmq "github.com/pebbe/zmq4"

	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// stranger is a plain DEALER that says whatever a test wants.
type stranger struct {
	t      testing.TB
	id     uuid.UUID // the client that it says it is
	socket *zmq.Socket
	heard  [][]byte // envelopes that came and were not asked for yet
}

func newStranger(t testing.TB, url string) *stranger {
	t.Helper()
	c, err := zmq.NewContext()
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.NewSocket(zmq.DEALER)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Close()
		for errors.Is(c.Term(), zmq.Errno(syscall.EINTR)) {
			continue
		}
	})
	for _, err := range []error{s.SetLinger(0), s.SetRcvtimeo(long), s.SetSndtimeo(long), s.Connect(url)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return &stranger{t: t, id: uuid.New(), socket: s}
}

// send sends one envelope.
func (s *stranger) send(env []byte) {
	s.t.Helper()
	frame := wire.AppendEnvelope(wire.AppendHead(nil), env)
	for {
		_, err := s.socket.SendBytes(frame, 0)
		if err == nil {
			return
		}
		if !errors.Is(err, zmq.Errno(syscall.EINTR)) {
			s.t.Fatal(err)
		}
	}
}

// tell sends one control message.
func (s *stranger) tell(m wire.Control) { s.t.Helper(); s.send(wire.AppendControl(nil, m)) }

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

// hearKind returns the next envelope of one of these kinds, and drops what
// comes before.
func (s *stranger) hearKind(kinds ...wire.Kind) []byte {
	s.t.Helper()
	for deadline := time.Now().Add(long); time.Now().Before(deadline); {
		env := s.hear()
		for _, k := range kinds {
			if wire.KindOf(env) == k {
				return env
			}
		}
	}
	s.t.Fatalf("none of %v came", kinds)
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

// open opens a session as a client of another language would.
func (s *stranger) open(pool string) *wire.Opened {
	s.t.Helper()
	s.tell(&wire.Open{Client: s.id, Request: uuid.New(), Pool: pool})
	return hearControl[*wire.Opened](s)
}

// holderOf is the header of the holder of a session.
func holderOf(o *wire.Opened) wire.Header {
	return wire.Header{Node: o.Node, Session: o.Session, Key: o.Key, Epoch: o.Epoch}
}

// answer is how a session message was answered.
type answer struct {
	header wire.Header
	body   []byte
}

// ask sends a session message and returns the next answer of that session.
func (s *stranger) ask(env []byte) answer {
	s.t.Helper()
	s.send(env)
	return s.answered()
}

func (s *stranger) answered() answer {
	s.t.Helper()
	h, body, err := wire.ParseHeader(s.hearKind(
		wire.KindReply, wire.KindFail, wire.KindHeld, wire.KindClosed, wire.KindAttached, wire.KindLeased, wire.KindExpired))
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{h, body}
}

// number is the integer that a call returned.
func (a answer) number(t testing.TB) (n int) {
	t.Helper()
	if a.header.Kind != wire.KindReply {
		t.Fatalf("answered by %s, %v: %s", a.header.Kind, a.header.Code, wire.ParseFailure(a.body).Text)
	}
	if err := codec.Decode(a.body, a.header.Flags&wire.FlagRaw != 0, &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// callOf is a call with an integer for its argument.
func callOf(h wire.Header, number, ack uint64, method string, arg int) []byte {
	body, _, err := codec.Append(nil, arg)
	if err != nil {
		panic(err) // an integer has an encoding
	}
	h.Number, h.Ack = number, ack
	return wire.AppendCall(nil, &h, method, body)
}

// messageOf is a session message of a kind with this body.
func messageOf(h wire.Header, kind wire.Kind, number uint64, body ...byte) []byte {
	h.Kind, h.Number = kind, number
	return append(h.Append(nil), body...)
}

// attachOf asks for a session in the name of a client.
func attachOf(h wire.Header, client uuid.UUID, number uint64, pool string) []byte {
	h.Epoch = 0
	return messageOf(h, wire.KindAttach, number, append(client[:], pool...)...)
}

// want checks an answer's kind, code and outcome.
func (a answer) want(t testing.TB, kind wire.Kind, code session.Code, o session.Outcome) {
	t.Helper()
	if a.header.Kind != kind || a.header.Code != code || (kind == wire.KindFail && a.header.Outcome() != o) {
		t.Errorf("answered by %s, %v, %v (%s); want %s, %v, %v", a.header.Kind, a.header.Code, a.header.Outcome(),
			wire.ParseFailure(a.body).Text, kind, code, o)
	}
	if kind == wire.KindFail && wire.ParseFailure(a.body).Text == "" && code != session.ErrRepeated {
		t.Errorf("%v says nothing more", code)
	}
}
