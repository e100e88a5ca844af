package core

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// mourning is a stage on which one of two nodes has a session and is dead, by
// the word of the other one or of nobody yet.
type mourning struct {
	*stage
	dead   session.NodeID
	lived  wire.Peer // of the dead
	reader wire.Peer // of the other one
}

func newMourning(t *testing.T, open *wire.Open) *mourning {
	t.Helper()
	s := &mourning{stage: newStage(t, 2), dead: 7, lived: 2, reader: 3}
	s.hear(1, open)
	if len(s.sent(2, wire.KindOffer)) == 0 {
		s.dead, s.lived, s.reader = 8, 3, 2
	}
	live := living(2)
	live.First, live.Once = open.Method != "", open.Once
	s.hear(s.lived, &wire.Accept{Seq: 1, Live: live})
	return s
}

func (s *mourning) obituary(started uint64) *wire.Obituary {
	return &wire.Obituary{Node: s.dead, Sessions: []session.ID{living(2).Session}, Started: []uint64{started}}
}

// calls has the client ask for call 6 again and returns the broker's Lost.
func (s *mourning) calls() []wire.Control {
	h := wire.Header{Node: s.dead, Session: living(2).Session, Epoch: 1, Number: 6}
	s.fx.Reset()
	s.core.Step(s.now, 1, wire.AppendCall(nil, &h, "m", nil), &s.fx)
	return s.sent(1, wire.KindLost)
}

func (s *mourning) wantStarted(lost []wire.Control, want uint64) {
	s.t.Helper()
	if len(lost) != 1 {
		s.t.Fatalf("%d times lost", len(lost))
	}
	if m := lost[0].(*wire.Lost); len(m.Started) != 1 || m.Started[0] != want {
		s.t.Errorf("the client hears %+v, want call %d as the last that was started", m, want)
	}
}

func plain() *wire.Open {
	return &wire.Open{Client: uuid.UUID{15: 1}, Request: uuid.UUID{15: 2}, Pool: "p"}
}

// A Lost may be lost. Who asks again hears what the start record says, for as
// long as that is remembered.
func TestLostIsToldAgain(t *testing.T) {
	s := newMourning(t, plain())
	s.hear(s.reader, s.obituary(5))
	s.wantStarted(s.sent(1, wire.KindLost), 5)
	s.wantStarted(s.calls(), 5)
	s.hear(s.reader, s.obituary(5)) // it is repeated
	s.wantStarted(s.calls(), 5)
	s.now = s.now.Add(2 * pastFor)
	s.core.Tick(s.now, &s.fx)
	if n := len(s.core.buried.order); n != 0 {
		t.Errorf("%d start records are remembered", n)
	}
}

// A broker that was restarted, or has given the node up for its silence, knows
// no such node. What the start record says is true all the same.
func TestObituaryOfANodeThatIsNotKnown(t *testing.T) {
	s := newMourning(t, plain())
	s.dead = 99
	s.hear(s.reader, s.obituary(5))
	s.wantStarted(s.calls(), 5)
	s.fx.Reset()
	s.core.BuryAll(s.now, 98, map[session.ID]uint64{living(2).Session: 4}, session.Death{}, &s.fx)
	s.dead = 98
	s.wantStarted(s.calls(), 4)
}

// What a node sent before its death and comes after its obituary brings it not
// back.
func TestRegisterOfTheDead(t *testing.T) {
	s := newMourning(t, plain())
	s.hear(s.reader, s.obituary(5))
	late := s.register(int(s.dead) - 7)
	late.Live = []wire.Live{living(2)}
	s.hear(s.lived, late)
	if s.core.nodes[s.dead] != nil {
		t.Error("the dead node is back")
	}
	s.wantStarted(s.calls(), 5)
}

// An obituary in parts counts once all of them have come, in their order.
func TestObituaryInParts(t *testing.T) {
	s := newMourning(t, plain())
	first, last := s.obituary(5), &wire.Obituary{Node: s.dead, Part: 1, Sessions: []session.ID{{15: 9}}, Started: []uint64{4}}
	first.More = true
	s.hear(s.reader, last)
	if n := len(s.sent(1, wire.KindLost)); n != 0 || s.core.nodes[s.dead] == nil {
		t.Error("the node is given up although a part of its obituary is missing")
	}
	s.hear(s.reader, first)
	s.hear(s.reader, last)
	s.wantStarted(s.sent(1, wire.KindLost), 5)
}

// A session for one call whose start record shows that the call was not
// started: its open, asked for again, is refused as not run.
func TestOneCallThatWasNotStarted(t *testing.T) {
	for started, unknown := range map[uint64]bool{0: false, 1: true} {
		s := newMourning(t, carrying())
		s.hear(s.reader, s.obituary(started))
		again := carrying()
		again.Since = 1000
		s.now = s.now.Add(time.Second)
		s.hear(1, again)
		refused := s.sent(1, wire.KindRefused)
		if len(refused) != 1 {
			t.Fatalf("%d times refused", len(refused))
		}
		if m := refused[0].(*wire.Refused); m.Unknown != unknown {
			t.Errorf("started %d: %+v", started, m)
		}
	}
}
