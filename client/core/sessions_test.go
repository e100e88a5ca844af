package core

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// opened returns a session with a window, and the head of what its worker says
// of call 1.
func (d *desk) opened(window uint16, w Wish) (*Session, wire.Header) {
	d.t.Helper()
	d.fx.Reset()
	o, refused := d.core.Open(d.now, w, "open", &d.fx)
	if refused != nil {
		d.t.Fatal(refused)
	}
	d.hear(1, &wire.Opened{
		Request: o.request, Node: 7, Pool: w.Pool, Session: uuid.UUID{15: 3}, Key: session.Key{1}, Epoch: 1, Limits: wire.Limits{Window: window},
	})
	s := d.fx.Results[0].Session
	h := s.header()
	h.Number = 1
	return s, h
}

func (d *desk) call(s *Session, a Ask) *session.Error {
	d.fx.Reset()
	return d.core.Call(d.now, s, &a, &d.fx)
}

// worker takes an envelope of the session's worker, by the broker.
func (d *desk) worker(kind wire.Kind, h wire.Header, body []byte) {
	d.fx.Reset()
	h.Kind = kind
	var b wire.Batch
	b.Session(1, &h, body)
	d.core.Step(d.now, 1, b.Outs[0].Env, &d.fx)
}

// Calls that wait for the window are bounded by their bytes too; one alone may
// have more, and what has left makes room.
func TestWaitingCallsAreBoundedInBytes(t *testing.T) {
	d := newDesk(t, 1)
	s, h := d.opened(1, Wish{Pool: "p"})
	large := make([]byte, wire.MaxEnvelope/2)
	taken := 0
	for taken < 100 {
		if refused := d.call(s, Ask{Method: "m", Args: large, Tag: taken}); refused != nil {
			if refused.Code != session.ErrOverloaded || refused.Outcome != session.NotRun {
				t.Errorf("one too many ends as %v", refused)
			}
			break
		}
		taken++
	}
	if most := 1 + pendingBytes/len(large); taken != most-1 { // methods count too
		t.Errorf("%d calls are taken, want %d", taken, most-1)
	}
	d.worker(wire.KindReply, h, nil)
	if len(d.fx.Results) != 1 {
		t.Fatalf("%d calls end", len(d.fx.Results))
	}
	if refused := d.call(s, Ask{Method: "m", Args: large, Tag: taken}); refused != nil {
		t.Errorf("once there is room again: %v", refused)
	}
	d.fx.Reset()
	if !d.core.Cancel(d.now, s, taken, session.ErrCancelled, &d.fx) {
		t.Error("what waits is not found")
	}
	if refused := d.call(s, Ask{Method: "m", Args: large, Tag: taken}); refused != nil {
		t.Errorf("once one was taken back: %v", refused)
	}
	d.fx.Reset()
	d.core.Close(d.now, s, "close", &d.fx)
	if s.waiting != 0 {
		t.Errorf("%d bytes are left to wait", s.waiting)
	}
}

// Whoever gets the end of a call whose reply has begun to come is told of its flow,
// whatever the end is: its Begun may come later.
func TestEndNamesTheFlowThatHasBegun(t *testing.T) {
	for what, end := range map[string]func(*desk, *Session, wire.Header){
		"shut down": func(d *desk, _ *Session, _ wire.Header) { d.fx.Reset(); d.core.Shutdown(d.now, &d.fx) },
		"a failure": func(d *desk, _ *Session, h wire.Header) {
			h.Code = session.ErrMethod
			d.worker(wire.KindFail, h, nil)
		},
		"a plain reply": func(d *desk, _ *Session, h wire.Header) { d.worker(wire.KindReply, h, nil) },
	} {
		d := newDesk(t, 1)
		s, h := d.opened(4, Wish{Pool: "p"})
		if refused := d.call(s, Ask{Method: "m", Tag: "call"}); refused != nil {
			t.Fatal(refused)
		}
		d.worker(wire.KindReplyChunk, h, nil)
		if len(d.fx.Begun) != 1 || d.fx.Begun[0].Tag != "call" {
			t.Fatalf("begun: %+v", d.fx.Begun)
		}
		flow := d.fx.Begun[0].Flow
		end(d, s, h)
		if len(d.fx.Results) != 1 || d.fx.Results[0].Flow != flow {
			t.Errorf("%s: %+v", what, d.fx.Results)
		}
	}
}

// What is missing of a reply that comes in parts is asked for RetryFirst after the
// last of it, also where its worker had asked for more patience before that.
func TestPartsAreAskedForInTime(t *testing.T) {
	d := newDesk(t, 1)
	s, h := d.opened(4, Wish{Pool: "p"})
	if refused := d.call(s, Ask{Method: "m", Tag: "call"}); refused != nil {
		t.Fatal(refused)
	}
	d.worker(wire.KindHeld, h, nil)
	d.tick(session.RetryFirst)
	d.hear(1, &wire.Beat{})
	d.worker(wire.KindReplyChunk, h, nil) // it begins
	d.tick(session.RetryFirst)
	for _, o := range d.fx.Outs {
		var asked wire.Header
		if _, err := asked.Parse(o.Env); err == nil && asked.Kind == wire.KindReplyCredit && asked.Flags&wire.FlagAgain != 0 {
			return
		}
	}
	t.Errorf("nobody asks for the rest: %v", d.fx.Outs)
}

// The caller of a session of one call cannot take chunks: a worker that sends
// them all the same ends the call, whether the route is known or not.
func TestSessionOfOneCallTakesNoChunks(t *testing.T) {
	wish := func() Wish { return Wish{Pool: "p", First: &First{Method: "m", Tag: "call"}, Once: true} }
	expect := func(what string, d *desk) {
		t.Helper()
		r := d.fx.Results
		if len(r) != 1 || r[0].Tag != "call" || r[0].Err == nil || r[0].Err.Code != session.ErrStream || r[0].Err.Outcome != session.Unknown {
			t.Errorf("%s ends it as %+v", what, r)
		}
		if len(d.fx.Begun) != 0 {
			t.Errorf("%s begins a flow", what)
		}
	}
	d := newDesk(t, 1)
	_, h := d.opened(4, wish())
	d.worker(wire.KindReplyChunk, h, nil)
	expect("a chunk", d)

	d = newDesk(t, 1)
	_, h = d.opened(4, wish())
	h.Flags |= wire.FlagStream
	d.worker(wire.KindReply, h, wire.AppendStream(nil, wire.Stream{Size: 3}))
	expect("the end of chunks", d)

	d = newDesk(t, 1)
	d.fx.Reset()
	o, _ := d.core.Open(d.now, wish(), nil, &d.fx)
	h = wire.Header{Number: 1, Key: session.Key(o.request), Session: uuid.UUID{15: 3}, Node: 7, Flags: wire.FlagStream}
	d.worker(wire.KindReply, h, wire.AppendStream(nil, wire.Stream{Size: 3}))
	expect("the end of chunks without a route", d)
}

// Attaches, whose numbers come from chance, are ended in their order.
func TestShutdownEndsAttachesInOrder(t *testing.T) {
	d := newDesk(t, 1)
	order := map[any]uint64{}
	for i := range 20 {
		d.fx.Reset()
		_ = d.core.Attach(d.now, session.Token{Node: 7, Session: uuid.UUID{15: 3}}, "", i, &d.fx)
	}
	for nonce, a := range d.core.attaches {
		order[a.tag] = nonce
	}
	d.fx.Reset()
	d.core.Shutdown(d.now, &d.fx)
	for i := 1; i < len(d.fx.Results); i++ {
		if order[d.fx.Results[i-1].Tag] > order[d.fx.Results[i].Tag] {
			t.Fatalf("%v ends before %v", d.fx.Results[i-1].Tag, d.fx.Results[i].Tag)
		}
	}
	if len(d.fx.Results) != 20 {
		t.Errorf("%d end", len(d.fx.Results))
	}
}

// The end of a broadcast that was stopped says how many answers there were,
// which may not have come to its owner yet.
func TestStoppedBroadcastCountsItsAnswers(t *testing.T) {
	d := newDesk(t, 1)
	d.fx.Reset()
	k, refused := d.core.Broadcast(d.now, Question{Pool: "p", Method: "m", Deadline: d.now.Add(time.Second)}, "cast", &d.fx)
	if refused != nil {
		t.Fatal(refused)
	}
	var snapshot []byte
	for _, node := range []session.NodeID{1, 2, 3} {
		snapshot = wire.AppendMember(snapshot, session.MemberID{Node: node})
	}
	d.hear(1, &wire.Answered{
		Request: k.request, Broker: uuid.UUID{1}, Run: 1, Known: true, Snapshot: snapshot, First: 1,
		Members: []wire.Member{{Node: 2, Fate: session.FateAnswered}},
	})
	if len(d.fx.Answers) != 1 {
		t.Fatalf("answers: %+v", d.fx.Answers)
	}
	d.fx.Reset()
	d.core.StopCast(k, session.ErrDeadline, &d.fx)
	if r := d.fx.Results; len(d.fx.Answers) != 2 || len(r) != 1 || r[0].Answers != 3 || r[0].Err != nil {
		t.Errorf("it ends with %d answers, as %+v", len(d.fx.Answers), r)
	}
}
