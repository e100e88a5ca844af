package core

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// The call that runs while another client attaches goes on for the holder
// before, and is held for him where he asks again: he still gets its answer.
func TestRunningCallOfTheHolderBefore(t *testing.T) {
	now := time.Unix(1000, 0)
	f := newFuzzed(now)
	step := func(from wire.Peer, env []byte) {
		f.fx.Reset()
		f.core.Step(now, from, env, &f.fx)
		f.look(t)
	}
	last := func() wire.Header {
		h, _, err := wire.ParseHeader(f.fx.Outs[len(f.fx.Outs)-1].Env)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	for _, m := range []wire.Control{
		&wire.Welcome{Version: 1, Broker: uuid.UUID{1}, Epoch: 1}, &wire.Registered{Epoch: 1},
		&wire.Offer{Epoch: 1, Client: uuid.UUID{15: 1}, Request: uuid.UUID{15: 2}, Pool: "p"},
	} {
		step(1, wire.AppendControl(nil, m))
	}
	f.fx.Reset()
	f.report(now, 0)
	f.look(t)
	id, key := drawn()
	call := wire.AppendCall(nil, &wire.Header{Node: 7, Session: id, Key: key, Epoch: 1, Number: 1}, "m", []byte{1})
	step(1, call)
	if len(f.running) != 1 {
		t.Fatal("the call does not run")
	}
	step(1, append((&wire.Header{Kind: wire.KindAttach, Node: 7, Session: id, Key: key, Number: 1 << 63}).Append(nil), make([]byte, 16)...))
	step(1, call)
	if h := last(); h.Kind != wire.KindHeld {
		t.Errorf("asked again while it runs: %s, %v, %v", h.Kind, h.Code, h.Outcome())
	}
	f.fx.Reset()
	f.report(now, 0)
	if h := last(); h.Kind != wire.KindReply || h.Number != 1 {
		t.Errorf("at its end: %s of %d, %v", h.Kind, h.Number, h.Code)
	}
}
