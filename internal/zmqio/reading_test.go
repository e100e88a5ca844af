package zmqio

import (
	"errors"
	"testing"

	"github.com/limpet-rpc/limpet/internal/zmtp"
)

// A frame with something in it is no delimiter, wherever the kernel cuts what comes.
func TestCutFrameIsNoDelimiter(t *testing.T) {
	whole := body("x")
	said := append([]byte("\x01\x04junk\x00"), byte(len(whole)))
	said = append(said, whole...)
	for cut := 1; cut < len(said); cut++ {
		l := idleLoopOf(t, &desk{})
		s := listening(l)
		k, far := standing(t, s)
		for _, piece := range [][]byte{said[:cut], said[cut:]} {
			say(t, far, piece)
			s.read(k)
		}
		if len(l.batch) != 1 || !errors.Is(l.batch[0].fault, ErrExtraFrames) {
			t.Errorf("cut behind %d bytes: %d arrivals, the first %+v, want one with ErrExtraFrames", cut, len(l.batch), l.batch[:min(1, len(l.batch))])
		}
	}
}

// A byte of every message is counted once against Options.Unfinished.
func TestUnfinishedCountsBytesOnce(t *testing.T) {
	l := idleLoopOf(t, &desk{})
	l.options.Unfinished = 1000
	s := listening(l)
	k, far := standing(t, s)
	say(t, far, append([]byte{1, 250}, make([]byte, 250)...))
	say(t, far, append([]byte{1, 250}, make([]byte, 250)...))
	say(t, far, append([]byte{1, 250}, make([]byte, 250)...))
	s.read(k)
	if k.stage == severed {
		t.Fatal("cut after 756 bytes of 1000")
	}
	say(t, far, append([]byte{1, 250}, make([]byte, 250)...))
	s.read(k)
	if k.stage != severed {
		t.Error("not cut after 1008 bytes of 1000")
	}
}

// A handshake has its time as a whole, not anew with every byte of it.
func TestTricklingHandshakeIsCut(t *testing.T) {
	l := idleLoopOf(t, &desk{})
	s := listening(l)
	k, far := begun(t, s)
	for _, b := range zmtp.Greeting()[:shakeWithin+1] {
		say(t, far, []byte{b})
		s.read(k)
		s.inspect()
	}
	if k.stage != severed {
		t.Errorf("%d inspections, and it may still shake hands", shakeWithin+1)
	}
}
