package core

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// stage is a broker with a client at peer 1 and nodes at peers 2 and up.
type stage struct {
	t    *testing.T
	core *Core
	now  time.Time
	fx   Effects
}

func newStage(t *testing.T, nodes int) *stage {
	t.Helper()
	s := &stage{t: t, now: time.Unix(1000, 0)}
	s.core = New(s.now, Config{ID: uuid.UUID{1}})
	s.now = s.now.Add(time.Minute) // it has recovered
	s.hear(1, &wire.Hello{Min: 1, Max: 1, Role: wire.RoleClient, ID: uuid.UUID{15: 1}})
	for n := range nodes {
		s.hear(wire.Peer(n+2), s.register(n))
	}
	return s
}

func (s *stage) register(n int) *wire.Register {
	return &wire.Register{
		Node: session.NodeID(n + 7), Name: string(rune('a' + n)), Host: "here", Pools: []wire.Pool{{Name: "p", Slots: 1}},
	}
}

func (s *stage) hear(from wire.Peer, m wire.Control) {
	s.fx.Reset()
	s.core.Step(s.now, from, wire.AppendControl(nil, m), &s.fx)
}

// sent returns the messages of a kind that the latest step sends to a peer.
func (s *stage) sent(to wire.Peer, kind wire.Kind) (list []wire.Control) {
	for _, out := range s.fx.Outs {
		if out.To == to && wire.KindOf(out.Env) == kind {
			m, err := wire.ParseControl(out.Env)
			if err != nil {
				s.t.Fatal(err)
			}
			list = append(list, m)
		}
	}
	return list
}

func carrying() *wire.Open {
	return &wire.Open{Client: uuid.UUID{15: 1}, Request: uuid.UUID{15: 2}, Pool: "p", Method: "m", Once: true, Wait: 30000}
}

func living(request byte) wire.Live {
	return wire.Live{Client: uuid.UUID{15: 1}, Request: uuid.UUID{15: request}, Pool: "p", Session: uuid.UUID{15: 3}, Epoch: 1}
}

// Draining says: nobody has taken this open. Of one that is on offer, or has a
// session, that would be a lie, and its client would ask elsewhere.
func TestDrainingBrokerOwnsUpToWhatItHasOffered(t *testing.T) {
	s := newStage(t, 1)
	s.hear(1, carrying())
	if len(s.sent(2, wire.KindOffer)) != 1 {
		t.Fatal("no offer")
	}
	s.fx.Reset()
	s.core.Drain(s.now, &s.fx)
	again := carrying()
	again.Since = 1000
	s.now = s.now.Add(time.Second)
	s.hear(1, again)
	for _, m := range s.sent(1, wire.KindRefused) {
		t.Errorf("an open on offer is refused: %+v", m)
	}
	s.hear(2, &wire.Accept{Seq: 1, Live: living(2)})
	s.now = s.now.Add(time.Second)
	s.hear(1, again)
	for _, m := range s.sent(1, wire.KindRefused) {
		t.Errorf("an open that has a session is refused: %+v", m)
	}
}

// A session that the start record does not name gave its slot to another one:
// what it had started is not known.
func TestSessionThatTheStartRecordDoesNotName(t *testing.T) {
	s := newStage(t, 2)
	s.hear(1, &wire.Open{Client: uuid.UUID{15: 1}, Request: uuid.UUID{15: 2}, Pool: "p"})
	from, dead := wire.Peer(2), session.NodeID(7)
	if len(s.sent(from, wire.KindOffer)) == 0 {
		from, dead = 3, 8
	}
	s.hear(from, &wire.Accept{Seq: 1, Live: living(2)})
	later := uuid.UUID{15: 9}
	s.hear(5-from, &wire.Obituary{Node: dead, Sessions: []session.ID{later}, Started: []uint64{4}})
	lost := s.sent(1, wire.KindLost)
	if len(lost) != 1 {
		t.Fatalf("%d times lost", len(lost))
	}
	if m := lost[0].(*wire.Lost); len(m.Started) > 0 && m.Started[0] == 0 {
		t.Errorf("the client hears that nothing was started: %+v", m)
	}
}

// A node that leaves and has said all it had to say took nothing of what is
// still on offer to it.
func TestOfferToANodeThatLeaves(t *testing.T) {
	s := newStage(t, 2)
	s.hear(1, carrying())
	from := wire.Peer(2)
	if len(s.sent(from, wire.KindOffer)) == 0 {
		from = 3
	}
	s.hear(from, &wire.Leave{Seq: 0})
	for _, m := range s.sent(1, wire.KindRefused) {
		t.Errorf("refused: %+v", m)
	}
	if len(s.sent(5-from, wire.KindOffer)) != 1 {
		t.Error("no offer to the other node")
	}
}

// The time that a call spends in the queue is its caller's: a worker gets what
// is left.
func TestBudgetOfACallThatWaited(t *testing.T) {
	s := newStage(t, 1)
	s.hear(1, &wire.Open{Client: uuid.UUID{15: 1}, Request: uuid.UUID{15: 8}, Pool: "p"})
	s.hear(2, &wire.Accept{Seq: 1, Live: living(8)})
	open := carrying()
	open.Budget = 2000
	s.hear(1, open)
	s.now = s.now.Add(1500 * time.Millisecond)
	s.hear(2, &wire.Ended{Seq: 2, Session: living(8).Session, Pool: "p", Code: session.ErrSessionClosed})
	offers := s.sent(2, wire.KindOffer)
	if len(offers) != 1 {
		t.Fatalf("%d offers", len(offers))
	}
	if m := offers[0].(*wire.Offer); m.Budget == 0 || m.Budget > 500 {
		t.Errorf("after 1500 of 2000 ms it is offered with %d ms", m.Budget)
	}
}
