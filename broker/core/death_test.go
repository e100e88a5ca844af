package core

import (
	"strings"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

func hungDeath() session.Death {
	return session.Death{Code: session.ErrWorkerHung, Text: "no beat for 3s", Dump: "goroutine 1 [running]"}
}

// A client hears why its worker's process died, in the supervisor's words, also
// when it asks again; the dump is for whoever inspects the node or the session.
func TestCauseOfADeath(t *testing.T) {
	s := newMourning(t, plain())
	name, why := s.core.nodes[s.dead].name, hungDeath()
	m := s.obituary(5)
	m.Code, m.Text, m.Dump = why.Code, why.Text, why.Dump
	s.hear(s.reader, m)
	for _, lost := range [][]wire.Control{s.sent(1, wire.KindLost), s.calls()} {
		s.wantStarted(lost, 5)
		if l := lost[0].(*wire.Lost); l.Code != why.Code || !strings.Contains(l.Text, why.Text) || strings.Contains(l.Text, why.Dump) {
			t.Errorf("the client hears %q: %s", l.Text, l.Code)
		}
	}
	later := s.now.Add(time.Second)
	byName, okName := s.core.InspectNode(later, name)
	bySession, okSession := s.core.InspectSession(later, living(2).Session)
	for _, in := range []Inspection{byName, bySession} {
		if d := in.Death; d == nil || d.Dump != why.Dump || d.Why != why.Text || d.Ago != 1 {
			t.Errorf("%v, %v: its death is %+v", okName, okSession, d)
		}
	}
	if lost := s.core.Status(later).Lost; len(lost) != 1 || lost[0].Why != why.Text {
		t.Errorf("status shows %+v", lost)
	}
}

// The cause may be found after the node was given up for its silence.
func TestCauseComesLater(t *testing.T) {
	s := newMourning(t, plain())
	n := s.core.nodes[s.dead]
	s.fx.Reset()
	s.core.lose(s.now, n, session.Death{Text: "no beat for 3s"}, &s.fx)
	s.core.BuryAll(s.now, s.dead, map[session.ID]uint64{}, hungDeath(), &s.fx)
	if in, ok := s.core.InspectNode(s.now, s.dead.String()); !ok || in.Death == nil || in.Death.Dump != hungDeath().Dump {
		t.Errorf("its death is %+v", in.Death)
	}
}
