package core

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// elected is a master of epoch 5 whose node is at peer 2.
func elected(t *testing.T) *stage {
	t.Helper()
	s := newStage(t, 1)
	s.core.cfg.Epoch, s.core.cfg.Elected = 5, true
	return s
}

// told are the ways in which a node shows what it knows.
var told = map[string]func(s *stage, epoch uint64){
	"a beat":     func(s *stage, epoch uint64) { s.hear(2, &wire.Beat{Epoch: epoch}) },
	"a register": func(s *stage, epoch uint64) { r := s.register(0); r.Epoch = epoch; s.hear(2, r) },
	"a refusal": func(s *stage, epoch uint64) {
		s.hear(9, &wire.Error{Code: session.ErrEpoch, Of: wire.KindWelcome, Epoch: epoch})
	},
}

// A master that hears of a later one gives nothing away, and says so; once its
// own epoch is above that it goes on, under the new one.
func TestOutdatedMasterGivesNothingAway(t *testing.T) {
	for name, tell := range told {
		s := elected(t)
		for _, epoch := range []uint64{4, 5, 1 << 62, 1<<64 - 1} {
			if tell(s, epoch); s.fx.Outdated != 0 {
				t.Errorf("%s of epoch %d makes a master of epoch 5 doubt itself", name, epoch)
			}
		}
		if tell(s, 7); s.fx.Outdated != 7 {
			t.Errorf("%s of epoch 7: told of %d", name, s.fx.Outdated)
		}
		s.hear(1, carrying())
		s.fx.Reset()
		s.now = s.now.Add(2 * time.Second)
		s.core.Tick(s.now, &s.fx)
		if len(s.fx.Outs) > 0 {
			t.Errorf("after %s it sends %v", name, s.fx.Outs)
		}
		s.core.SetEpoch(8)
		s.fx.Reset()
		s.core.Tick(s.now, &s.fx)
		offers := s.sent(2, wire.KindOffer)
		if len(offers) != 1 || offers[0].(*wire.Offer).Epoch != 8 {
			t.Errorf("after %s, raised: offers %v", name, offers)
		}
	}
}

// A broker that is alone has nobody to give way to.
func TestLoneBrokerIgnoresEpochs(t *testing.T) {
	for name, tell := range told {
		s := newStage(t, 1)
		tell(s, 7)
		if s.hear(1, carrying()); s.fx.Outdated != 0 || len(s.sent(2, wire.KindOffer)) != 1 {
			t.Errorf("after %s it offers nothing", name)
		}
	}
}

// Clients that were told "recovering" about a node are asked who they are as soon
// as it is back, and then send again; those that never said hello are not.
func TestThoseWhoWaitForANodeAreTold(t *testing.T) {
	s := newStage(t, 0)
	s.now = time.Unix(1001, 0) // it recovers
	h := wire.Header{Node: 7, Session: uuid.UUID{15: 3}, Number: 1}
	call := wire.AppendCall(nil, &h, "m", nil)
	for _, from := range []wire.Peer{1, 5} {
		for range 3 {
			s.fx.Reset()
			s.core.Step(s.now, from, append([]byte(nil), call...), &s.fx)
		}
	}
	s.hear(2, s.register(0))
	if asked := s.sent(1, wire.KindIdentify); len(asked) != 1 {
		t.Errorf("the client is asked %d times, want once", len(asked))
	}
	if asked := s.sent(5, wire.KindIdentify); len(asked) != 0 {
		t.Error("a stranger is asked who he is")
	}
	if s.core.awaited.count != 0 {
		t.Errorf("%d are still waited for", s.core.awaited.count)
	}
}
