package core

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// laned is a node whose pool has lanes, with some sessions open in it.
type laned struct {
	t        *testing.T
	core     *Core
	now      time.Time
	fx       Effects
	sessions []*Session
}

// newLaned opens n sessions on a pool with lanes.
func newLaned(t *testing.T, lanes, n int) *laned {
	t.Helper()
	l := &laned{t: t, now: time.Unix(1000, 0)}
	cfg := Config{Node: 7, Name: "n", Pools: []Pool{{Name: "p", Slots: n + 2, Lanes: lanes, Budget: time.Second}}}
	l.core = New(l.now, cfg, rand.NewChaCha8([32]byte{1}))
	l.core.AddBroker(l.now, 1, &l.fx)
	l.hear(&wire.Welcome{Version: 1, Broker: theCell, Epoch: 1})
	l.hear(&wire.Registered{Epoch: 1})
	for i := range n {
		l.offer(i)
		s := l.fx.Open[0]
		l.do(func() { l.core.OpenDone(l.now, s, nil, &l.fx) })
		l.sessions = append(l.sessions, s)
	}
	return l
}

// do runs one step; the tables must agree after it.
func (l *laned) do(step func()) {
	l.t.Helper()
	l.fx.Reset()
	step()
	if err := l.core.Audit(); err != nil {
		l.t.Fatal(err)
	}
}

func (l *laned) hear(m wire.Control) {
	l.t.Helper()
	l.do(func() { l.core.Step(l.now, 1, wire.AppendControl(nil, m), &l.fx) })
}

func (l *laned) offer(i int) {
	l.t.Helper()
	l.hear(&wire.Offer{Epoch: 1, Client: uuid.UUID{15: 1}, Request: uuid.UUID{0: 9, 15: byte(i)}, Pool: "p"})
}

func (l *laned) send(i int, kind wire.Kind, n uint64, budget time.Duration) {
	l.t.Helper()
	s := l.sessions[i]
	h := wire.Header{Kind: kind, Node: 7, Session: s.id, Key: s.key, Epoch: 1, Number: n, Budget: budget}
	env := h.Append(nil)
	if kind == wire.KindCall {
		env = wire.AppendCall(nil, &h, "m", nil)
	}
	l.do(func() { l.core.Step(l.now, 1, env, &l.fx) })
}

func (l *laned) done(i int, n uint64) {
	l.t.Helper()
	l.do(func() { l.core.Done(l.now, l.sessions[i], n, &session.Reply{}, &l.fx) })
}

// runs wants exactly one call to be handed over by the last step, or none.
func (l *laned) runs(i int, n uint64) {
	l.t.Helper()
	switch {
	case i < 0 && len(l.fx.Run) == 0:
	case i >= 0 && len(l.fx.Run) == 1 && l.fx.Run[0].Session == l.sessions[i] && l.fx.Run[0].Call.Number == n:
	default:
		l.t.Fatalf("%d calls are handed over, want call %d of session %d", len(l.fx.Run), n, i)
	}
}

// Sessions of a lane take turns, one call each, however many calls one of them
// has; one that ends takes its turn for Close.
func TestLaneTakesTurns(t *testing.T) {
	l := newLaned(t, 1, 3)
	for n := range uint64(3) {
		l.send(0, wire.KindCall, n+1, 0)
	}
	l.send(1, wire.KindCall, 1, 0)
	l.runs(-1, 0)
	l.send(2, wire.KindClose, 1, 0)
	if len(l.fx.Stop) != 0 {
		t.Error("Close is handed over while a call runs")
	}
	l.done(0, 1)
	l.runs(1, 1)
	l.done(1, 1)
	if l.runs(-1, 0); len(l.fx.Stop) != 1 || l.fx.Stop[0].Session != l.sessions[2] {
		t.Fatalf("%d are stopped, want the third session", len(l.fx.Stop))
	}
	l.do(func() { l.core.Closed(l.now, l.sessions[2], &l.fx) })
	l.runs(0, 2)
	l.done(0, 2)
	l.runs(0, 3)
}

// What waits for its lane has not started: it can be cancelled, and its
// deadline pass.
func TestWaitForALane(t *testing.T) {
	l := newLaned(t, 1, 3)
	l.send(0, wire.KindCall, 1, 0)
	l.send(1, wire.KindCall, 1, 0)
	l.send(1, wire.KindCancel, 1, 0)
	l.send(2, wire.KindCall, 1, 10*time.Millisecond)
	l.now = l.now.Add(time.Second / 2)
	l.done(0, 1)
	l.runs(-1, 0)
	for i := 1; i < 3; i++ {
		if r, ok := l.sessions[i].callee.Stored(1); !ok || r.Outcome != session.NotRun {
			t.Errorf("the call of session %d ended %v, %v", i, r.Code, r.Outcome)
		}
	}
}

// A lane that hangs loses its sessions and gets no other; the ones on the other
// lane, and the opens that waited, go on there.
func TestLaneIsGivenUp(t *testing.T) {
	l := newLaned(t, 2, 4)
	on := l.sessions[0].Lane()
	l.send(0, wire.KindCall, 1, 0)
	for i, s := range l.sessions[1:] {
		if l.send(i+1, wire.KindCall, 1, 0); s.Lane() == on && len(l.fx.Run) > 0 {
			t.Fatalf("session %d starts beside another on lane %d", i+1, on)
		}
	}
	l.offer(100) // it waits for one of them
	waits := l.core.opens[session.OpenKey{Client: uuid.UUID{15: 1}, Request: uuid.UUID{0: 9, 15: 100}}]
	s := l.sessions[0]
	l.do(func() { l.core.accuse(l.now, s, &l.fx); l.core.condemn(l.now, s.exam, &l.fx) })
	for i, other := range l.sessions {
		if mine := other.lane == s.lane; other.quarantined != mine || (other.state == stateClosing) != mine {
			t.Errorf("session %d on lane %d: quarantined %t, state %d", i, other.Lane(), other.quarantined, other.state)
		}
	}
	if waits.Lane() == on {
		t.Error("an open waits for the lane that hangs")
	}
	if l.offer(101); slices.ContainsFunc(l.core.Sessions(), func(n *Session) bool { return n.state == stateStarting && n.Lane() == on }) {
		t.Error("a new session is on the lane that hangs")
	}
	l.done(0, 1)
	for range 2 { // both sessions of the lane are closed, one after the other
		if len(l.fx.Stop) != 1 {
			t.Fatalf("%d are stopped, want one", len(l.fx.Stop))
		}
		ended := l.fx.Stop[0].Session
		l.do(func() { l.core.Closed(l.now, ended, &l.fx) })
	}
	if l.core.quarantined != 0 || s.lane.held != 0 {
		t.Errorf("%d slots are quarantined, the lane has %d sessions", l.core.quarantined, s.lane.held)
	}
}
