package core

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Calls with small arguments that run for long do not hold the memory of large ones
// that have ended.
func TestSmallCallsHoldLittle(t *testing.T) {
	const large, slots = 1 << 20, 32
	now := time.Now()
	pool := Pool{Name: "p", Slots: slots, Bare: true, Lends: map[string]bool{"m": true}}
	c := New(now, Config{Node: 7, Name: "n", Pools: []Pool{pool}}, rand.NewChaCha8([32]byte{1}))
	fx := &Effects{}
	step := func(env []byte) {
		fx.Reset()
		c.Step(now, 1, env, fx)
	}
	c.AddBroker(now, 1, fx)
	step(wire.AppendControl(nil, &wire.Welcome{Version: 1, Broker: uuid.UUID{1}, Epoch: 1}))
	step(wire.AppendControl(nil, &wire.Registered{Epoch: 1}))
	arg, held := bytes.Repeat([]byte("x"), large), 0
	for i := range slots {
		step(wire.AppendControl(nil, &wire.Offer{Epoch: 1, Client: uuid.UUID{15: 1}, Request: uuid.UUID{14: 1, 15: byte(i)}, Pool: "p"}))
		s := fx.Start[0]
		h := wire.Header{Kind: wire.KindCall, Node: 7, Session: s.ID(), Key: s.key, Epoch: 1, Number: 1}
		step(wire.AppendCall(nil, &h, "m", arg))
		if len(fx.Run) != 1 || !bytes.Equal(fx.Run[0].Call.Args, arg) {
			t.Fatal("the large call does not run as it came")
		}
		fx.Reset()
		c.Done(now, s, 1, &session.Reply{}, fx)
		h.Number, h.Ack = 2, 1
		step(wire.AppendCall(nil, &h, "m", arg[:10]))
		if len(fx.Run) != 1 {
			t.Fatal("the small call does not run")
		}
		held += cap(fx.Run[0].Call.mem) // it goes on for long
	}
	if held > slots*spareSize {
		t.Errorf("%d calls with 10 bytes each hold %d", slots, held)
	}
}
