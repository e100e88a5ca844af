package core

import (
	"testing"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// A node that ends a session before it has heard its holder does not know the way to
// it: the broker does.
func TestEndBeforeTheHolderWasHeard(t *testing.T) {
	s := newStage(t, 1)
	s.hear(1, &wire.Open{Client: uuid.UUID{15: 1}, Request: uuid.UUID{15: 2}, Pool: "p", Wait: 30000})
	s.hear(2, &wire.Accept{Seq: 1, Live: living(2)})
	if len(s.sent(1, wire.KindOpened)) != 1 {
		t.Fatal("it has not been opened")
	}
	h := wire.Header{Kind: wire.KindExpired, Code: session.ErrSessionDrained, Node: 7, Session: living(2).Session, Epoch: 1}
	tell := func() int {
		s.fx.Reset()
		s.core.Step(s.now, 2, h.Append(nil), &s.fx)
		told := 0
		for _, out := range s.fx.Outs {
			if out.To == 1 && wire.KindOf(out.Env) == wire.KindExpired {
				told++
			}
		}
		return told
	}
	if tell() != 1 {
		t.Error("the holder is not told")
	}
	if h.Session = (uuid.UUID{15: 9}); tell() != 0 {
		t.Error("the holder is told of a session that is not its own")
	}
	s.fx.Reset()
	s.core.Gone(s.now, 1, &s.fx)
	if h.Session = living(2).Session; tell() != 0 {
		t.Error("a holder is told that is not there")
	}
}
