package zmqio

import (
	"bytes"
	"errors"
	"testing"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// However many connections have something, a round reads about as much as from one that
// has a lot; none of them is left out, and nothing is lost.
func TestRoundIsBoundedHoweverManyConnections(t *testing.T) {
	const connections, each = 40, 1000
	got := 0
	l := idleLoopOf(t, &desk{lent: true, envelope: func(wire.Peer, []byte) { got++ }})
	s := listening(l)
	var said []byte
	for range each {
		said = message(said, body(string(make([]byte, 80))), false)
	}
	for range connections {
		_, far := standing(t, s)
		say(t, far, said)
	}
	for rounds := 0; got < connections*each; rounds++ {
		var err error
		if l.signs, err = l.poller.look(l.signs[:0]); err != nil || len(l.signs) == 0 {
			t.Fatalf("the poller tells of %d connections after %d envelopes, %v", len(l.signs), got, err)
		}
		l.attend()
		size, whose := 0, map[wire.Peer]bool{}
		for _, a := range l.batch {
			size += len(a.body)
			whose[a.from] = true
		}
		if size > 2*batchBytes || rounds == 0 && len(whose) != connections {
			t.Fatalf("round %d has %d bytes of %d connections", rounds, size, len(whose))
		}
		for l.receive() {
		}
	}
}

// faulty counts what is wrong in a portion, and the most that there was.
type faulty struct {
	desk

	now, most, all int
}

func (f *faulty) Begin() { f.now = 0 }
func (f *faulty) End()   { f.most = max(f.most, f.now) }

func (f *faulty) Malformed(_ wire.Peer, err error) {
	if errors.Is(err, ErrNoBody) {
		f.now++
		f.all++
	}
}

// Messages of nothing, two bytes each, come in portions too, and the memory in which so
// many have been listed is not kept.
func TestMessagesOfNothing(t *testing.T) {
	const many = 20_000
	f := &faulty{}
	l := idleLoopOf(t, f)
	k, far := standing(t, listening(l))
	say(t, far, message(nil, body("hello"), false))
	say(t, far, bytes.Repeat([]byte{0, 0}, many))
	for f.all < many {
		k.socket.read(k)
		for l.receive() {
		}
	}
	if f.most > portion {
		t.Errorf("%d came in one portion", f.most)
	}
	if n := cap(l.batch); n > batchKept {
		t.Errorf("there is still room for %d", n)
	}
}
