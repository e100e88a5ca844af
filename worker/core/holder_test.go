package core

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// The end of a session whose holder was never heard in it goes to the broker that
// offered it, and does not name a peer there that the client is at another broker.
func TestEndBeforeTheHolderWasHeard(t *testing.T) {
	now, client, fx := time.Unix(1000, 0), uuid.UUID{15: 1}, Effects{}
	c := New(now, Config{Node: 7, Name: "n", Pools: []Pool{{Name: "p", Slots: 2, Bare: true}}}, rand.NewChaCha8([32]byte{1}))
	hear := func(broker wire.Peer, m wire.Control) {
		fx.Reset()
		c.Step(now, broker, wire.AppendControl(nil, m), &fx)
	}
	for broker := range wire.Peer(2) {
		c.AddBroker(now, broker+1, &fx)
		hear(broker+1, &wire.Welcome{Version: 1, Broker: uuid.UUID{byte(broker + 1)}, Epoch: 1})
		hear(broker+1, &wire.Registered{Epoch: 1})
	}
	hear(1, &wire.Offer{Epoch: 1, Client: client, Request: uuid.UUID{15: 1}, Pool: "p"})
	first := c.Sessions()[0]
	fx.Reset()
	lease := wire.Header{Kind: wire.KindLease, Node: 7, Session: client, Via: 57, Number: 1, Ack: session.Digest(first.id)}
	c.Step(now, 1, lease.Append(nil), &fx)
	hear(2, &wire.Offer{Epoch: 1, Client: client, Request: uuid.UUID{15: 2}, Pool: "p"})

	fx.Reset()
	for _, s := range c.Sessions() {
		if s != first {
			c.end(now, s, session.ErrSessionDrained, "the node is shutting down", &fx)
		}
	}
	for _, out := range fx.Outs {
		if wire.KindOf(out.Env) != wire.KindExpired {
			continue
		}
		if _, via, _ := wire.RouteOf(out.Env); out.To != 2 || via != 0 {
			t.Errorf("it goes to broker %d, via %d", out.To, via)
		}
		return
	}
	t.Error("nobody is told")
}
