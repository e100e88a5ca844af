package tests

import (
	"context"
	"testing"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// A call on an unknown or foreign session is refused within one round trip,
// and its owner sees nothing of it, not even while a call of his runs.
func TestForeignSession(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	y := newTally("tally", 2)
	c.serve(t, worker.Options{}, y.pool)
	owner := open(t, c.dial(t), "tally")
	mustCall[int](t, owner, "add", 1)
	running := make(chan error, 1)
	go func() {
		var n int
		err := owner.Call(context.Background(), "wait", 1, &n)
		if err == nil && n != 2 {
			t.Errorf("the owner's running call counts to %d, want 2", n)
		}
		running <- err
	}()
	gate := await(t, y.gates, "the owner's call")
	ran := y.ran.Load()

	r := owner.Route()
	thief := connectStranger(t, c.url)
	for _, test := range []struct {
		name string
		is   wire.Header
		want session.Code
	}{
		{"wrong key", wire.Header{Node: r.Node, Session: r.Session, Key: session.Key{1}, Epoch: r.Epoch}, session.ErrSessionForeign},
		{"no key", wire.Header{Node: r.Node, Session: r.Session, Epoch: r.Epoch}, session.ErrSessionForeign},
		{"made-up session", wire.Header{Node: r.Node, Session: uuid.New(), Key: session.Key{1}, Epoch: 1}, session.ErrSessionUnknown},
		{"no session", wire.Header{Node: r.Node, Epoch: 1}, session.ErrSessionUnknown},
		{"made-up node", wire.Header{Node: r.Node ^ 2, Session: r.Session, Key: session.Key{1}, Epoch: 1}, session.ErrWorkerLost},
		{"no node", wire.Header{Session: r.Session, Epoch: 1}, session.ErrWorkerLost},
	} {
		for _, number := range []uint64{0, 1, 2, 3, 1 << 63} {
			h := test.is
			h.Number = number
			thief.send(frame(callMessage(h, "add", 100)))
			if a, _ := thief.hearHeader(wire.KindFail); a.Code != test.want || a.Number != number || a.Outcome() == session.Done {
				t.Errorf("%s, call %d: %v, outcome %v; want %v", test.name, number, a.Code, a.Outcome(), test.want)
			}
			for _, kind := range []wire.Kind{wire.KindCancel, wire.KindClose} {
				h.Kind = kind
				thief.send(frame(sessionMessage(h)))
				if a, _ := thief.hearHeader(answerTo(kind)); a.Code != test.want {
					t.Errorf("%s, %s %d: %v, want %v", test.name, kind, number, a.Code, test.want)
				}
			}
		}
	}
	if n := y.ran.Load(); n != ran {
		t.Errorf("%d calls ran meanwhile", n-ran)
	}
	close(gate)
	if err := await(t, running, "the owner's reply"); err != nil {
		t.Errorf("the owner's running call ended with %v", err)
	}
	if n := mustCall[int](t, owner, "add", 1); n != 3 {
		t.Errorf("the owner counts to %d, want 3", n)
	}
}

// What a holder itself may do wrong with the numbers of its calls is refused
// by name, costs nothing, and never runs anything twice.
func TestHolderBreaksTheRules(t *testing.T) {
	c := newCell(t, broker.Options{Recovery: 1})
	y := newTally("tally", 1, func(w *worker.Config[*counted]) { w.Window = 8 })
	c.serve(t, worker.Options{}, y.pool)
	s := connectStranger(t, c.url)
	o := s.openRaw("tally")
	ask := func(number, ack uint64, change func(*wire.Header), method string, by byte) (wire.Header, []byte) {
		t.Helper()
		h := holderOf(o)
		h.Number, h.Ack = number, ack
		if change != nil {
			change(&h)
		}
		s.send(frame(callMessage(h, method, by)))
		for {
			a, body, err := wire.ParseHeader(s.hear())
			if err != nil {
				t.Fatal(err)
			}
			if a.Kind == wire.KindReply || a.Kind == wire.KindFail {
				return a, body
			}
		}
	}
	counts := func(number, ack uint64, by, want byte) {
		t.Helper()
		if a, body := ask(number, ack, nil, "add", by); a.Kind != wire.KindReply || a.Number != number || len(body) != 1 || body[0] != want {
			t.Errorf("call %d: %s %v % x, want %d", number, a.Kind, a.Code, body, want)
		}
	}
	refused := func(what string, want session.Code, number, ack uint64, change func(*wire.Header), method string, by byte) {
		t.Helper()
		if a, _ := ask(number, ack, change, method, by); a.Kind != wire.KindFail || a.Code != want {
			t.Errorf("%s: %s %v, want %v", what, a.Kind, a.Code, want)
		}
	}
	counts(1, 0, 1, 1)
	counts(1, 0, 1, 1) // the same once more: the stored reply
	refused("another body under a used number", session.ErrRepeated, 1, 0, nil, "add", 2)
	refused("number zero", session.ErrFuture, 0, 0, nil, "add", 1)
	refused("beyond the window", session.ErrFuture, 9, 0, nil, "add", 1)
	refused("far beyond it", session.ErrFuture, 1<<63, 0, nil, "add", 1)
	refused("acknowledges itself", session.ErrAcknowledged, 2, 2, nil, "add", 1)
	refused("acknowledges the future", session.ErrAcknowledged, 2, 1<<63, nil, "add", 1)
	refused("an epoch never given", session.ErrEpoch, 2, 1, func(h *wire.Header) { h.Epoch++ }, "add", 1)
	refused("an epoch that is over", session.ErrSessionMoved, 2, 1, func(h *wire.Header) { h.Epoch-- }, "add", 1)
	counts(2, 1, 1, 2)
	refused("an acknowledged number", session.ErrPast, 1, 1, nil, "add", 1)
	refused("no such method", session.ErrMethodUnknown, 3, 2, nil, "nope", 1)
	counts(4, 3, 1, 3)
	h := holderOf(o)
	h.Kind, h.Number, h.Ack, h.Code = wire.KindCall, 5, 4, 200 // a method of 200 bytes in an envelope that has 3
	s.send(frame(sessionMessage(h, 'a', 'd', 'd')))
	if a, _ := s.hearHeader(wire.KindFail); a.Code != session.ErrBadMessage {
		t.Errorf("method cut short: %v, want bad message", a.Code)
	}
	counts(5, 4, 1, 4)
	if n := y.ran.Load(); n != 4 {
		t.Errorf("%d calls ran, want 4", n)
	}
	h.Kind, h.Number, h.Code = wire.KindClose, 6, 0
	for range 2 {
		s.send(frame(sessionMessage(h)))
		s.hearHeader(wire.KindClosed)
	}
	refused("closed", session.ErrSessionClosed, 6, 5, nil, "add", 1)
	eventually(t, "the slot is free", func() bool { return c.pool(t, "tally").Free == 1 })
}
