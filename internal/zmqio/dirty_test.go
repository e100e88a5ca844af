package zmqio

import (
	"fmt"
	"io"
	"testing"

	"github.com/limpet-rpc/limpet/internal/zmtp"
)

// What a link says outside a flush, an answer to a PING here, leaves a peer alone
// that is on the dirty list: on it twice, the list would have no end.
func TestPeerIsOnTheDirtyListOnce(t *testing.T) {
	l, p := idleLoop(t)
	s := p.socket
	k, far := standing(t, s)
	for _, env := range []string{"one", "two"} {
		if err := l.Send(p.id, []byte(env)); err != nil {
			t.Fatal(err)
		}
		say(t, far, zmtp.AppendPing(nil, 0))
		s.read(k)
	}
	if p.nextDirty == p {
		s.dirty.Store(nil) // or the loop would never end
		t.Fatal("the dirty list leads from a peer to itself")
	}
	s.flushAsOwner()
	pong := "\x04\x05\x04PONG"
	whole := body("one", "two")
	want := pong + pong + fmt.Sprintf("\x00%c", len(whole)) + string(whole)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(far, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("sent %q, want %q", got, want)
	}
	if p.queued || s.dirty.Load() != nil {
		t.Error("the peer is still waiting to be flushed")
	}
}

// What a flush finds before the connection stands is sent when it does.
func TestConnectionSendsWhatWaitedForIt(t *testing.T) {
	l, p := idleLoop(t)
	s := p.socket
	if err := l.Send(p.id, []byte("early")); err != nil {
		t.Fatal(err)
	}
	s.flushAsOwner()
	k, far := begun(t, s)
	if err := l.Send(p.id, []byte("later")); err != nil {
		t.Fatal(err)
	}
	s.flushAsOwner()
	say(t, far, zmtp.AppendReady(zmtp.Greeting(), zmtp.Router))
	s.read(k)
	whole := body("early", "later")
	want := string(zmtp.AppendReady(zmtp.Greeting(), zmtp.Dealer)) + "\x00\x00" + fmt.Sprintf("\x00%c", len(whole)) + string(whole)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(far, got); err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("sent %q, want %q", got, want)
	}
}
