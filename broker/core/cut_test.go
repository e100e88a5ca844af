package core

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// cutOff is a broker with one node, which is cut off when an open asks for it.
func cutOff(t *testing.T, open *wire.Open) *stage {
	t.Helper()
	s := newStage(t, 1)
	s.hear(2, valued(s, "1"))
	s.fx.Reset()
	s.core.Gone(s.now, 2, &s.fx)
	s.hear(1, open)
	for _, out := range s.fx.Outs {
		if wire.KindOf(out.Env) == wire.KindOffer {
			t.Fatalf("an offer to peer %d, while the only node is cut off", out.To)
		}
	}
	if n := s.core.Sizes(); n.Offers != 0 || n.Opens != 1 {
		t.Fatalf("%d offers, want none to a node that cannot be told of it; %d opens", n.Offers, n.Opens)
	}
	return s
}

// valued is how the first node registers, with the value that it says.
func valued(s *stage, value string) *wire.Register {
	m := s.register(0)
	m.Pools[0].Policy, m.Pools[0].Value = "equal", value
	return m
}

// A node that was cut off may say something else of itself when it is back: the
// open goes where its want is by then.
func TestNodeThatComesBackWithAnotherValue(t *testing.T) {
	wants := &wire.Open{Client: uuid.UUID{15: 1}, Request: uuid.UUID{15: 2}, Pool: "p", Want: "1"}
	s := cutOff(t, wants)
	s.hear(3, valued(s, "2"))
	for range 100 {
		if n := len(s.sent(3, wire.KindOffer)); n != 0 {
			t.Fatalf("%d offers to a node that says another value", n)
		}
		s.now = s.now.Add(20 * time.Millisecond)
		s.hear(3, &wire.Beat{})
		s.core.Tick(s.now, &s.fx)
	}
	s.hear(3, &wire.Beat{Values: map[string]string{"p": "1"}})
	if n := len(s.sent(3, wire.KindOffer)); n != 1 {
		t.Errorf("%d offers to a node that says what is wanted", n)
	}
}

// An open that waited for a node's return is offered to it at once, and not by and by.
func TestNodeThatComesBackAsItWas(t *testing.T) {
	s := cutOff(t, carrying())
	s.hear(3, valued(s, "1"))
	if n := len(s.sent(3, wire.KindOffer)); n != 1 {
		t.Errorf("%d offers at its return", n)
	}
}

// While a node is cut off, what is opened goes to others. Withdrawn before, its call
// was certainly not run.
func TestOpenWhileANodeIsCutOff(t *testing.T) {
	s := cutOff(t, carrying())
	s.hear(1, &wire.Withdraw{Client: carrying().Client, Request: carrying().Request})
	if refused := s.sent(1, wire.KindRefused); len(refused) != 1 || refused[0].(*wire.Refused).Unknown {
		t.Errorf("withdrawn, it is refused %d times, or its call may have run", len(refused))
	}
	if n := s.core.Sizes(); n.Offers != 0 || n.Opens != 0 {
		t.Errorf("withdrawn, and still held: %+v", n)
	}
	if err := s.core.Audit(); err != nil {
		t.Error(err)
	}

	s = cutOff(t, carrying())
	s.hear(3, s.register(1))
	for _, m := range s.sent(1, wire.KindRefused) {
		t.Errorf("refused: %+v", m)
	}
	if n := len(s.sent(3, wire.KindOffer)); n != 1 {
		t.Errorf("%d offers to the other node", n)
	}
}
