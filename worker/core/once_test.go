package core

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// A session that was opened for one call ends with it: what its holder sent
// behind it is not run, and told so.
func TestOnceEndsWithItsCall(t *testing.T) {
	now := time.Now()
	c, fx, step := bareNode(now, 1)
	step(wire.AppendControl(nil, &wire.Offer{
		Epoch: 1, Client: uuid.UUID{15: 1}, Request: uuid.UUID{15: 2}, Pool: "p", Once: true, Method: "m", Args: []byte{0xc0}, Via: 9,
	}))
	if len(fx.Run) != 1 {
		t.Fatalf("%d calls run", len(fx.Run))
	}
	s := fx.Run[0].Session
	h := wire.Header{Kind: wire.KindCall, Via: 9, Node: 7, Session: s.ID(), Key: s.key, Epoch: 1, Number: 2}
	step(wire.AppendCall(nil, &h, "m", []byte{0xc0}))
	if len(fx.Run) != 0 {
		t.Fatal("call 2 runs beside call 1")
	}
	fx.Reset()
	c.Done(now, s, 1, &session.Reply{Body: []byte{0xc0}}, fx)
	if len(fx.Run) != 0 {
		t.Error("call 2 runs after the session's end")
	}
	if len(fx.Stop) != 1 || !fx.Stop[0].Over || c.Held() != 0 {
		t.Errorf("stopped as %+v, %d slots are held", fx.Stop, c.Held())
	}
	var ends []wire.Header
	for _, o := range fx.Outs {
		if k := wire.KindOf(o.Env); k == wire.KindReply || k == wire.KindFail {
			h, _, err := wire.ParseHeader(o.Env)
			if err != nil {
				t.Fatal(err)
			}
			ends = append(ends, h)
		}
	}
	if len(ends) != 2 || ends[0].Number != 1 || ends[0].Kind != wire.KindReply ||
		ends[1].Number != 2 || ends[1].Code != session.ErrSessionClosed || ends[1].Outcome() != session.NotRun {
		t.Errorf("they end as %+v", ends)
	}
}

// Sessions of one call that are over wait for no tick: however many there are
// between two, few are held, and the next tick reports none of them again.
func TestFewAreToldLater(t *testing.T) {
	now := time.Now()
	c, fx, step := bareNode(now, 1)
	for i := 1; i <= 1000; i++ {
		step(wire.AppendControl(nil, &wire.Offer{
			Epoch: 1, Client: uuid.UUID{15: 1}, Request: uuid.UUID{14: byte(i >> 8), 15: byte(i)}, Pool: "p", Once: true, Method: "m", Via: 9,
		}))
		if len(fx.Run) != 1 {
			t.Fatalf("offer %d: %d calls run", i, len(fx.Run))
		}
		s := fx.Run[0].Session
		fx.Reset()
		c.Done(now, s, 1, &session.Reply{}, fx)
	}
	if cap(c.untold) > 8 {
		t.Errorf("there is room for %d sessions that are to be told of, and one is open at a time", cap(c.untold))
	}
	fx.Reset()
	c.Tick(now, fx)
	for _, o := range fx.Outs {
		if k := wire.KindOf(o.Env); k == wire.KindAccept {
			t.Error("a session that is over is reported once more")
		}
	}
}

// A reply that is written into the room that was made for it leaves the rooms of
// others alone, however long it gets.
func TestRoomsAreApart(t *testing.T) {
	c, _, _ := bareNode(time.Now(), 1)
	var rooms [2*roomsAtOnce + 1][]byte
	for i := range rooms {
		if rooms[i] = c.room(); len(rooms[i]) != 0 || cap(rooms[i]) != roomSize {
			t.Fatalf("room %d has %d bytes of %d", i, len(rooms[i]), cap(rooms[i]))
		}
	}
	for i := range rooms {
		for range roomSize + 1 {
			rooms[i] = append(rooms[i], byte(i))
		}
	}
	for i, room := range rooms {
		for _, b := range room {
			if b != byte(i) {
				t.Fatalf("room %d has what was written to room %d", i, b)
			}
		}
	}
}

// The goroutine of a session of one call may have left, and its Close be told, before
// the end of its call is: the reply is kept all the same, for copies of the call.
func TestClosedBeforeDone(t *testing.T) {
	now := time.Now()
	c, fx, step := bareNode(now, 1)
	step(wire.AppendControl(nil, &wire.Offer{
		Epoch: 1, Client: uuid.UUID{15: 1}, Request: uuid.UUID{15: 2}, Pool: "p", Once: true, Method: "m", Args: []byte{0xc0}, Via: 9,
	}))
	s := fx.Run[0].Session
	step(wire.AppendControl(nil, &wire.Revoke{Epoch: 1, Client: uuid.UUID{15: 1}, Request: uuid.UUID{15: 2}, Code: session.ErrWithdrawn}))
	if len(fx.Stop) != 1 {
		t.Fatalf("%d sessions are stopped", len(fx.Stop))
	}
	fx.Reset()
	c.Closed(now, s, fx)
	c.Done(now, s, 1, &session.Reply{Body: []byte{0xc3}}, fx)
	if free := c.Sizes().Free; free != 1 {
		t.Errorf("%d slots are free, want 1", free)
	}
	h := wire.Header{Kind: wire.KindCall, Via: 9, Node: 7, Session: s.ID(), Key: s.key, Epoch: 1, Number: 1}
	step(wire.AppendCall(nil, &h, "m", []byte{0xc0}))
	for _, o := range fx.Outs {
		if h, body, err := wire.ParseHeader(o.Env); err != nil || h.Kind != wire.KindReply || len(body) != 1 || body[0] != 0xc3 {
			t.Errorf("the call's copy gets %v %v %x, %v", h.Kind, h.Code, body, err)
		}
	}
	if len(fx.Outs) != 1 {
		t.Errorf("%d answers to the call's copy", len(fx.Outs))
	}
}
