package core

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// BenchmarkSession is the core's part of a session of one call, from the offer
// to the closed slot: in three trips, and in one.
func BenchmarkSession(b *testing.B) {
	for _, trips := range []struct {
		name string
		once bool
	}{{"three", false}, {"one", true}} {
		b.Run(trips.name, func(b *testing.B) { benchmarkSession(b, trips.once) })
	}
}

// bareNode is a node with one bare pool, registered with broker 1. Step gives it a
// message of that broker's, whose effects are in fx then.
func bareNode(now time.Time, slots int) (c *Core, fx *Effects, step func(env []byte)) {
	c = New(now, Config{Node: 7, Name: "n", Pools: []Pool{{Name: "p", Slots: slots, Bare: true}}}, rand.NewChaCha8([32]byte{1}))
	fx = &Effects{}
	step = func(env []byte) {
		fx.Reset()
		c.Step(now, 1, env, fx)
	}
	c.AddBroker(now, 1, fx)
	step(wire.AppendControl(nil, &wire.Welcome{Version: 1, Broker: uuid.UUID{1}, Epoch: 1}))
	step(wire.AppendControl(nil, &wire.Registered{Epoch: 1}))
	return c, fx, step
}

func benchmarkSession(b *testing.B, once bool) {
	now := time.Now()
	c, fx, step := bareNode(now, 64)
	offer := wire.Offer{Epoch: 1, Client: uuid.UUID{15: 1}, Pool: "p", Once: once}
	if once {
		offer.Method, offer.Args = "echo", []byte{0xc0}
	}
	var buf []byte
	b.ReportAllocs()
	for i := range b.N {
		binary.BigEndian.PutUint64(offer.Request[:], uint64(i)+1)
		buf = wire.AppendControl(buf[:0], &offer)
		step(append([]byte(nil), buf...)) // as the socket hands it over
		s := fx.Start[0]
		h := wire.Header{Node: 7, Session: s.ID(), Key: s.key, Epoch: 1, Number: 1}
		if !once {
			h.Kind = wire.KindCall
			step(wire.AppendCall(nil, &h, "echo", []byte{0xc0}))
		}
		n := fx.Run[0].Call.Number
		fx.Reset()
		c.Done(now, s, n, &session.Reply{Body: []byte{0xc0}}, fx)
		if once {
			fx.Reset()
			c.Closed(now, s, fx)
			continue
		}
		h.Kind, h.Number, h.Ack = wire.KindClose, 2, 1
		step(h.Append(nil))
	}
}
