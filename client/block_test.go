package client

import (
	"bytes"
	"context"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmqio"
)

// broker is the peer that a clientWithSession has as its broker.
const broker = 1

// clientWithSession is a client whose loop has ended, so that nothing is sent, with
// a session that its broker has opened.
func clientWithSession(t *testing.T) (*Client, *core.Session) {
	t.Helper()
	c := &Client{log: slog.New(slog.DiscardHandler), core: core.New(core.Config{ID: uuid.UUID{15: 1}}, rand.NewChaCha8([32]byte{1})), greeted: true}
	c.spare.New = func() any { return new(core.Effects) }
	ended, end := context.WithCancel(t.Context())
	end()
	var err error
	if c.loop, err = zmqio.NewLoop(c, zmqio.Options{}); err == nil {
		err = c.loop.Run(ended)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.core.AddBroker(c.loop.Time(), broker, &c.fx)
	c.Envelope(broker, wire.AppendControl(nil, &wire.Welcome{Version: 1, Broker: uuid.UUID{1}, Epoch: 1, Lease: 10_000}))
	asked := unpooledOpening()
	var request uuid.UUID
	c.onLoop(func() {
		if _, refused := c.core.Open(c.loop.Time(), core.Wish{Pool: "p"}, asked, &c.fx); refused != nil {
			t.Error(refused)
		}
		for _, o := range c.fx.Outs {
			if m, err := wire.ParseControl(o.Env); err == nil {
				request = m.(*wire.Open).Request
			}
		}
	})
	c.Envelope(broker, wire.AppendControl(nil, &wire.Opened{Request: request, Node: 7, Pool: "p", Session: uuid.UUID{15: 3}, Epoch: 1}))
	if asked.session == nil {
		t.Fatal("there is no session")
	}
	return c, asked.session
}

// A result that came in a block is copied before the block is somebody else's: the
// batch ends after that.
func TestResultOutlivesItsBlock(t *testing.T) {
	const size = 100_000
	c, s := clientWithSession(t)
	called := newReply()
	c.onLoop(func() {
		if refused := c.core.Call(c.loop.Time(), s, &core.Ask{Method: "m", Tag: called}, &c.fx); refused != nil {
			t.Error(refused)
		}
	})
	body := bytes.Repeat([]byte("result"), size/6)
	h := wire.Header{Kind: wire.KindReply, Flags: wire.FlagRaw, Node: 7, Session: uuid.UUID{15: 3}, Epoch: 1, Number: 1}
	env := append(h.Append(nil), body...)
	received, err := zmqio.NewBlock(len(env))
	if err != nil {
		t.Fatal(err)
	}
	copy(received.Bytes(), env)
	c.Begin()
	c.Block(broker, received.Bytes(), received)
	another, err := zmqio.NewBlock(len(env)) // of somebody who sends
	if err != nil {
		t.Fatal(err)
	}
	copy(another.Bytes(), bytes.Repeat([]byte{0xee}, len(env)))
	c.End()
	another.Release()
	if called.heard(<-called.done); !bytes.Equal(called.body, body) {
		t.Errorf("the result is %d bytes, %.20q", len(called.body), called.body)
	}
}
