package core

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// registered returns a broker with one node of peer 1 that serves a pool.
func registered(now time.Time, cfg Config, pool string, slots int) (*Core, *Effects) {
	cfg.ID = uuid.UUID{15: 9}
	c, fx := New(now, cfg), new(Effects)
	c.Step(now, 1, wire.AppendControl(nil, &wire.Hello{Min: 1, Max: 1, Role: wire.RoleNode, ID: uuid.UUID{15: 1}}), fx)
	c.Step(now, 1, wire.AppendControl(nil, &wire.Register{Node: 1, Name: "n", Pools: []wire.Pool{{Name: pool, Slots: slots, Methods: []string{"m"}}}}), fx)
	return c, fx
}

func TestCarriedBytesAreBounded(t *testing.T) {
	now := time.Now()
	c, fx := registered(now, Config{Carried: 1000}, "p", 1)
	ask := func(n byte, size int) *wire.Refused {
		fx.Reset()
		c.Step(now, 2, wire.AppendControl(nil, &wire.Open{
			Client: uuid.UUID{15: 2}, Request: uuid.UUID{15: n}, Pool: "p", Method: "m", Args: make([]byte, size),
		}), fx)
		for _, o := range fx.Outs {
			if m, err := wire.ParseControl(o.Env); err == nil {
				if r, is := m.(*wire.Refused); is {
					return r
				}
			}
		}
		return nil
	}
	if r := ask(1, 600); r != nil {
		t.Fatalf("600 of 1000 bytes: %v", r)
	}
	if r := ask(2, 600); r == nil || r.Code != session.ErrOverloaded {
		t.Fatalf("1,200 of 1000 bytes: %v", r)
	}
	fx.Reset()
	c.Step(now, 2, wire.AppendControl(nil, &wire.Withdraw{Client: uuid.UUID{15: 2}, Request: uuid.UUID{15: 1}}), fx)
	c.Step(now, 1, wire.AppendControl(nil, &wire.Decline{Seq: 1, Client: uuid.UUID{15: 2}, Request: uuid.UUID{15: 1}, Pool: "p", Code: session.ErrWithdrawn}), fx)
	if r := ask(3, 900); r != nil {
		t.Fatalf("900 of 1000 bytes once the others are gone: %v", r)
	}
}

func TestClaimedSessionsAreBounded(t *testing.T) {
	now := time.Now()
	c, fx := registered(now, Config{}, "p", 3)
	for i := range 1000 {
		fx.Reset()
		id := session.ID{1: byte(i >> 8), 2: byte(i)}
		c.Step(now, 1, wire.AppendControl(nil, &wire.Accept{Seq: uint64(i) + 1, Live: wire.Live{
			Client: uuid.UUID{15: 2}, Request: id, Pool: "p", Session: id, Epoch: 1,
		}}), fx)
	}
	if n := c.Sizes().Sessions; n != 3*2+64 {
		t.Errorf("a node of 3 slots claims %d sessions", n)
	}
}

func TestDesertedPoolsAreForgotten(t *testing.T) {
	now := time.Now()
	c, fx := registered(now, Config{}, "p", 1)
	c.Step(now, 1, wire.AppendControl(nil, &wire.Leave{}), fx)
	for range 25 {
		if len(c.table.Pools()) != 1 {
			t.Fatal("forgotten at once")
		}
		now = now.Add(100 * time.Millisecond)
		c.Tick(now, fx)
	}
	for range 25 {
		now = now.Add(desertedFor / 20)
		c.Tick(now, fx)
	}
	if pools := c.table.Pools(); len(pools) != 0 {
		t.Errorf("%d pools are still known that nobody serves", len(pools))
	}
}
