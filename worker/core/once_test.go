package core

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// A session that was opened for one call ends with it: what its holder sent
// behind it is not run, and told so.
func TestOnceEndsWithItsCall(t *testing.T) {
	now := time.Now()
	c, fx, step := bareNode(now, 1)
	step(wire.AppendControl(nil, &wire.Offer{
		Epoch: 1, Client: uuid.UUID{15: 1}, Request: uuid.UUID{15: 2}, Pool: "p", Once: true, Method: "m", Args: []byte{0xc0}, Via: 9,
	}))
	if len(fx.Run) != 1 {
		t.Fatalf("%d calls run", len(fx.Run))
	}
	s := fx.Run[0].Session
	h := wire.Header{Kind: wire.KindCall, Via: 9, Node: 7, Session: s.ID(), Key: s.key, Epoch: 1, Number: 2}
	step(wire.AppendCall(nil, &h, "m", []byte{0xc0}))
	if len(fx.Run) != 0 {
		t.Fatal("call 2 runs beside call 1")
	}
	fx.Reset()
	c.Done(now, s, 1, &session.Reply{Body: []byte{0xc0}}, fx)
	if len(fx.Run) != 0 {
		t.Error("call 2 runs after the session's end")
	}
	if len(fx.Stop) != 1 || !fx.Stop[0].Over || c.Held() != 0 {
		t.Errorf("stopped as %+v, %d slots are held", fx.Stop, c.Held())
	}
	var ends []wire.Header
	for _, o := range fx.Outs {
		if k := wire.KindOf(o.Env); k == wire.KindReply || k == wire.KindFail {
			h, _, err := wire.ParseHeader(o.Env)
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, h)
		}
	}
	if len(ends) != 2 || ends[0].Number != 1 || ends[0].Kind != wire.KindReply ||
		ends[1].Number != 2 || ends[1].Code != session.ErrSessionClosed || ends[1].Outcome() != session.NotRun {
		t.Errorf("they end as %+v", ends)
	}
}
