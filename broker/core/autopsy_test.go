package core

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// A broker keeps the last autopsies, one a call, and says whether the slot is
// still lost; who is no node tells none.
func TestAutopsies(t *testing.T) {
	now := time.Unix(1000, 0)
	c := New(now, Config{ID: uuid.UUID{1}})
	var fx Effects
	hear := func(from wire.Peer, m wire.Control) {
		fx.Reset()
		now = now.Add(time.Second)
		c.Step(now, from, wire.AppendControl(nil, m), &fx)
		if err := c.Audit(); err != nil {
			t.Fatal(err)
		}
	}
	id := session.ID{15: 9}
	live := wire.Live{
		Client: uuid.UUID{1}, Request: uuid.UUID{2}, Pool: "p", Session: id, Key: session.Key{1}, Epoch: 1, Incarnation: 1, Quarantined: true,
	}
	hear(2, &wire.Autopsy{Session: id, Pool: "p"})
	if _, known := c.InspectSession(now, id); known {
		t.Error("a stranger's autopsy is kept")
	}
	hear(1, &wire.Hello{Min: 1, Max: 1, Role: wire.RoleNode, ID: uuid.UUID{15: 7}})
	hear(1, &wire.Register{Node: 7, Secret: session.Key{7}, Name: "n", Pools: []wire.Pool{{Name: "p", Slots: 2}}, Live: []wire.Live{live}})
	if p := c.Summary(now).Pools[0]; p.Quarantined != 1 || p.Open != 0 || p.Free != 1 {
		t.Errorf("the pool is %+v, want one of two slots in quarantine", p)
	}
	hear(1, &wire.Autopsy{Session: id, Pool: "p", Call: 3, Stack: "not found yet"})
	hear(1, &wire.Autopsy{Session: id, Pool: "p", Call: 3, Stack: "main.spin"})
	in, _ := c.InspectSession(now, id)
	if len(in.Autopsies) != 1 || in.Autopsies[0].Stack != "main.spin" || !in.Autopsies[0].Quarantined || in.Session == nil || !in.Session.Quarantined {
		t.Errorf("the session is inspected as %+v", in)
	}
	hear(1, &wire.Ended{Seq: 1, Session: id, Pool: "p", Code: session.ErrWorkerHung})
	if p := c.Summary(now).Pools[0]; p.Quarantined != 0 || p.Free != 2 {
		t.Errorf("after its end the pool is %+v", p)
	}
	for i := range 2 * autopsiesMost {
		hear(1, &wire.Autopsy{Session: session.ID{0: byte(i), 1: byte(i >> 8), 15: 1}, Pool: "p", Call: 1})
	}
	if in, known := c.InspectNode(now, "n"); !known || len(in.Autopsies) != autopsiesMost {
		t.Errorf("%d autopsies are kept, want %d", len(in.Autopsies), autopsiesMost)
	}
	if _, known := c.InspectSession(now, id); known {
		t.Error("the oldest was not forgotten")
	}
	if _, known := c.InspectNode(now, "nobody"); known {
		t.Error("a node that nobody knows is known")
	}
}
