package core

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// An obituary that is lost is sent again with the beats, until every broker has
// given the dead node up; a broker that comes later hears it too.
func TestObituaryIsRepeated(t *testing.T) {
	now := time.Unix(1000, 0)
	c := New(now, Config{Node: 7, Pools: []Pool{{Name: "p", Slots: 1}}}, nil)
	var fx Effects
	heard := map[wire.Peer]int{}
	listen := func() {
		for _, o := range fx.Outs {
			if wire.KindOf(o.Env) == wire.KindObituary {
				heard[o.To]++
			}
		}
		fx.Reset()
	}
	join := func(peer wire.Peer) {
		c.AddBroker(now, peer, &fx)
		c.Step(now, peer, wire.AppendControl(nil, &wire.Welcome{Version: 1, Broker: uuid.UUID{byte(peer)}, Epoch: 1}), &fx)
		c.Step(now, peer, wire.AppendControl(nil, &wire.Registered{Epoch: 1}), &fx)
		listen()
	}
	wait := func(d time.Duration) {
		for end := now.Add(d); now.Before(end); {
			now = now.Add(c.cfg.Tick)
			for peer := range c.brokers {
				c.Step(now, peer, wire.AppendControl(nil, &wire.Beat{Epoch: 1, Reply: true}), &fx)
			}
			c.Tick(now, &fx)
			listen()
		}
	}
	join(1)
	c.Obituary(now, 9, map[session.ID]uint64{{1}: 3}, session.Death{}, &fx)
	listen()
	if heard[1] != 1 {
		t.Errorf("told %d times at once", heard[1])
	}
	wait(c.cfg.Beat + c.cfg.Beat/2)
	if heard[1] < 2 {
		t.Errorf("told %d times after one beat", heard[1])
	}
	join(2)
	wait(c.cfg.Beat)
	if heard[2] == 0 {
		t.Error("a broker that came later was not told")
	}
	wait(c.cfg.Beat * time.Duration(c.cfg.Misses))
	told := heard[1]
	wait(10 * c.cfg.Beat)
	if heard[1] != told || len(c.dead) != 0 {
		t.Errorf("still told after %d times, %d obituaries kept", told, len(c.dead))
	}
}
