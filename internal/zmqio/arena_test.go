package zmqio

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// Messages that come one at a time come in the same memory, each with its own bytes.
func TestArenaIsUsedAgain(t *testing.T) {
	const messages = 1000
	places, wrong := map[*byte]bool{}, 0
	arrived := make(chan struct{}, messages)
	n := 0
	l, stop := start(t, &desk{lent: true, envelope: func(_ wire.Peer, env []byte) {
		places[&env[0]] = true
		if string(env) != fmt.Sprintf("%d %s", n, strings.Repeat("x", n%300)) {
			wrong++
		}
		n++
		arrived <- struct{}{}
	}}, Options{})
	endpoint := listen(t, l)
	from, _ := start(t, &desk{}, Options{})
	to := connect(t, from, endpoint)
	for i := range messages {
		if err := from.Send(to, fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", i%300))); err != nil {
			t.Fatal(err)
		}
		await(t, arrived, "the message") // or they come in one batch, which has memory of its own
	}
	stop()
	if wrong > 0 {
		t.Errorf("%d messages are not what was sent", wrong)
	}
	if len(places) > 10 {
		t.Errorf("%d messages in %d places", messages, len(places))
	}
}

// A batch has the memory that it needs, no byte of it twice, and leaves some of it to
// the next.
func TestArenaOfALargeBatch(t *testing.T) {
	var a arena
	for range 3 {
		a.reuse()
		seen := map[*byte]bool{}
		for range 10 * piecesKept {
			room := a.room(pieceSize/2 + 1)
			if len(room) <= pieceSize/2 || seen[&room[0]] {
				t.Fatalf("%d bytes, in use already: %t", len(room), seen[&room[0]])
			}
			seen[&room[0]] = true
			a.use(pieceSize / 2)
			if rest := a.room(1); &rest[0] == &room[0] {
				t.Fatal("what is used is free")
			}
		}
	}
	a.reuse()
	if len(a.pieces) != piecesKept {
		t.Errorf("%d pieces are kept, want %d", len(a.pieces), piecesKept)
	}
}

// What comes while a loop that has ended sends what is left is read into the same
// memory again and again.
func TestLingerUsesItsMemoryAgain(t *testing.T) {
	l := idleLoopOf(t, &desk{})
	_, far := standing(t, listening(l))
	said := message(nil, body(string(make([]byte, 10_000))), false)
	for range 4 * piecesKept * pieceSize / len(said) {
		say(t, far, said)
		if err := l.linger(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.arena.pieces); n > 2 {
		t.Errorf("%d pieces of memory for messages of %d bytes", n, len(said))
	}
}
