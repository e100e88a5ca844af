package zmqio

import (
	"bytes"
	"io"
	"testing"

	"github.com/limpet-rpc/limpet/internal/zmtp"
)

// A peer is forgotten while its connection has taken half a message. Whatever else
// were said there would be taken for the other half.
func TestForgottenInTheMiddleOfAMessage(t *testing.T) {
	l := idleLoopOf(t, &desk{})
	s := listening(l)
	k, far := standing(t, s)
	hello := body("hello")
	say(t, far, append([]byte{0, byte(len(hello))}, hello...))
	s.read(k)
	p := k.peer
	env := bytes.Repeat([]byte{'x'}, 4<<20)
	if err := l.Send(p.id, env); err != nil {
		t.Fatal(err)
	}
	s.flushAsOwner()
	if !k.choked {
		t.Fatal("the kernel has taken all of it")
	}
	s.forgetIdle(p.seen + 1)
	_, _ = far.Write(zmtp.AppendPing(nil, 0)) // if it still may
	s.read(k)
	came := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(far)
		came <- all
	}()
	until(t, "the connection is cut", func() bool {
		s.writable(k)
		s.read(k)
		return k.stage == severed || len(k.control) == 0
	})
	if k.stage != severed {
		_ = far.Close()
		t.Error("a command was said in the middle of a message")
	}
	if all := await(t, came, "the far end"); bytes.Contains(all, []byte("PONG")) {
		t.Error("a command was said in the middle of a message")
	}
}
