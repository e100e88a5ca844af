package core

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// served is a node with two brokers, at peers 1 and 2, of the same cell.
type served struct {
	t    *testing.T
	core *Core
	now  time.Time
	fx   Effects
}

var theCell = uuid.UUID{1}

func newServed(t *testing.T) *served {
	t.Helper()
	s := &served{t: t, now: time.Unix(1000, 0)}
	cfg := Config{Node: 7, Name: "n", Pools: []Pool{{Name: "p", Slots: 2}}}
	s.core = New(s.now, cfg, bytes.NewReader(bytes.Repeat([]byte{5}, 1<<16)))
	s.core.AddBroker(s.now, 1, &s.fx)
	s.core.AddBroker(s.now, 2, &s.fx)
	return s
}

func (s *served) hear(from wire.Peer, messages ...wire.Control) {
	for _, m := range messages {
		s.fx.Reset()
		s.core.Step(s.now, from, wire.AppendControl(nil, m), &s.fx)
	}
}

func (s *served) master(from wire.Peer, epoch uint64) {
	s.hear(from, &wire.Welcome{Version: 1, Broker: theCell, Epoch: epoch}, &wire.Registered{Epoch: epoch})
}

// refuses checks that the latest step has done nothing but refuse.
func (s *served) refuses(what string) {
	s.t.Helper()
	if len(s.fx.Outs) != 1 || len(s.fx.Start)+len(s.fx.Cancel)+len(s.fx.Stop) > 0 || s.fx.Drain != nil {
		s.t.Errorf("%s: %d messages go out, something is done", what, len(s.fx.Outs))
		return
	}
	m, err := wire.ParseControl(s.fx.Outs[0].Env)
	if e, ok := m.(*wire.Error); err != nil || !ok || e.Code != session.ErrEpoch || e.Epoch != 6 {
		s.t.Errorf("%s is answered by %+v, %v", what, m, err)
	}
}

// Every frame that claims something is refused if the node knows a later master
// of that cell, at this endpoint or at another.
func TestFormerMasterIsRefusedFrameByFrame(t *testing.T) {
	open := uuid.UUID{15: 2}
	for _, at := range []wire.Peer{1, 2} {
		for _, m := range []wire.Control{
			&wire.Welcome{Version: 1, Broker: theCell, Epoch: 5},
			&wire.Identify{Broker: theCell, Epoch: 5},
			&wire.Registered{Epoch: 5},
			&wire.Registered{Epoch: 5, Again: true},
			&wire.Beat{Epoch: 5},
			&wire.Beat{Epoch: 5, Reply: true},
			&wire.Offer{Epoch: 5, Client: theCell, Request: uuid.UUID{15: 9}, Pool: "p"},
			&wire.Offer{Epoch: 5, Client: theCell, Request: open, Pool: "p"},
			&wire.Revoke{Epoch: 5, Client: theCell, Request: open, Code: session.ErrWithdrawn},
			&wire.Drain{Epoch: 5},
		} {
			s := newServed(t)
			s.master(1, 5)
			s.hear(1, &wire.Offer{Epoch: 5, Client: theCell, Request: open, Pool: "p"})
			s.master(at, 6)
			s.hear(1, m)
			s.refuses(m.Kind().String())
			if b := s.core.brokers[1]; b.registered || b.welcomed {
				t.Errorf("after %s it counts as a broker of this node still", m.Kind())
			}
			if s.core.Registered() != (at == 2) {
				t.Errorf("after %s the node's registration elsewhere is %v", m.Kind(), s.core.Registered())
			}
		}
	}
}

func TestLaterMasterIsTaken(t *testing.T) {
	s := newServed(t)
	s.master(1, 5)
	s.hear(1, &wire.Offer{Epoch: 8, Client: theCell, Request: uuid.UUID{15: 9}, Pool: "p"})
	if len(s.fx.Start) != 1 || s.core.known(theCell) != 8 {
		t.Errorf("%d sessions start, epoch %d is known", len(s.fx.Start), s.core.known(theCell))
	}
}

// Another cell, or a broker that is alone, has epochs of its own.
func TestEpochsOfAnotherCell(t *testing.T) {
	s := newServed(t)
	s.master(1, 5)
	s.hear(1, &wire.Welcome{Version: 1, Broker: uuid.UUID{2}, Epoch: 1}, &wire.Registered{Epoch: 1},
		&wire.Offer{Epoch: 1, Client: theCell, Request: uuid.UUID{15: 9}, Pool: "p"})
	if len(s.fx.Start) != 1 {
		t.Error("an offer of another cell is refused")
	}
	s.hear(2, &wire.Welcome{Version: 1, Broker: uuid.UUID{3}, Epoch: 1})
	if s.core.brokers[1].epoch != 1 || s.core.brokers[2].epoch != 1 {
		t.Error("cells take each other's epochs")
	}
}

// Whoever answers on a connection that was renewed may be new: it is told all,
// without being asked.
func TestRenewedConnectionIsIntroduced(t *testing.T) {
	s := newServed(t)
	s.master(1, 5)
	s.fx.Reset()
	s.core.Renewed(s.now, 1, &s.fx)
	var kinds []wire.Kind
	for _, o := range s.fx.Outs {
		kinds = append(kinds, wire.KindOf(o.Env))
	}
	if len(kinds) != 2 || kinds[0] != wire.KindHello || kinds[1] != wire.KindRegister {
		t.Errorf("it sends %v, want hello and register", kinds)
	}
	s.fx.Reset()
	if s.core.Renewed(s.now, 77, &s.fx); len(s.fx.Outs) > 0 {
		t.Error("it greets somebody who is no broker")
	}
}
