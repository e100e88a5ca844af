package zmqio

import (
	"testing"

	"github.com/limpet-rpc/limpet/internal/zmtp"
)

// Whoever knows no PING is not asked whether he is there; but a message that he has
// begun and never ends is not waited for.
func TestSilenceInAMessageIsCut(t *testing.T) {
	for name, c := range map[string]struct {
		said []byte
		cut  bool
	}{
		"a head that announces much": {[]byte{2, 0, 0, 0, 0, 0, 0x40, 0, 0}, true},
		"half a head":                {[]byte{2, 0}, true},
		"a frame, and more":          {[]byte{1, 0}, true},
		"a whole message":            {append([]byte{0, byte(len(body("hello")))}, body("hello")...), false},
		"nothing":                    {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, p := idleLoop(t)
			s := p.socket
			k, far := standing(t, s)
			k.pings = false
			say(t, far, c.said)
			s.read(k)
			for range cutAfter + 1 {
				s.inspect()
			}
			if cut := k.stage == severed; cut != c.cut {
				t.Errorf("cut: %v, want %v", cut, c.cut)
			}
		})
	}
}

// A head alone takes little memory, whatever it announces.
func TestAnnouncedFrameGrowsAsItComes(t *testing.T) {
	_, p := idleLoop(t)
	k, far := standing(t, p.socket)
	const size = 4 << 20
	head := make([]byte, zmtp.Room)
	begins := zmtp.Precede(head, zmtp.Room, size, false)
	say(t, far, head[begins:])
	say(t, far, []byte{'L'})
	p.socket.read(k)
	if n := len(k.coming.bytes); n == 0 || n > comingFirst {
		t.Errorf("%d bytes for one that has come", n)
	}
}
