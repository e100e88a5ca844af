package core

import (
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Holders behind one broker that acknowledge nothing of their replies hold up no
// other one there, up to the bound that all of them share.
func TestHolderWithoutCreditsHoldsUpNobody(t *testing.T) {
	const chunks = 8
	l := newLaned(t, 3, 3)
	credit := func(i int, taken uint64) (sent int) {
		s := l.sessions[i]
		h := wire.Header{Kind: wire.KindReplyCredit, Node: 7, Session: s.id, Key: s.key, Epoch: 1, Number: 1, Via: wire.Peer(10 + i), Ack: taken}
		h.SetWindow(session.MaxCredit)
		l.do(func() { l.core.Step(l.now, 1, h.Append(nil), &l.fx) })
		for _, c := range l.fx.Chunks {
			if c.Head.Session != s.id || c.Head.Via != h.Via {
				t.Fatalf("a chunk of session %s goes by %d", c.Head.Session, c.Head.Via)
			}
			sent++
		}
		return sent
	}
	for i := range l.sessions {
		l.send(i, wire.KindCall, 1, time.Minute)
		l.runs(i, 1)
		for range chunks {
			l.do(func() {
				what, broken := l.core.Give(l.now, l.sessions[i], 1, make([]byte, session.MaxChunk), nil, nil, &l.fx)
				if what != FlowMoves || broken != nil {
					t.Fatal(what, broken)
				}
			})
		}
	}
	most := session.DefaultRoad / session.MaxChunk
	for i := range 2 { // these take nothing
		if n := credit(i, 0); n != most {
			t.Errorf("holder %d gets %d chunks, want %d on their way", i, n, most)
		}
	}
	sent := credit(2, 0)
	for taken := range chunks {
		sent += credit(2, uint64(taken+1)*session.MaxChunk)
	}
	if sent != chunks {
		t.Errorf("beside them %d of %d chunks come, and no time has passed", sent, chunks)
	}
}
