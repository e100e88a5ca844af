package core

import (
	"bytes"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/limpet-rpc/limpet/internal/prefetch"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Soon sees the sessions that are at their places, for the envelopes that it is asked
// about, and changes nothing.
func TestSoon(t *testing.T) {
	c := New(time.Unix(0, 0), Config{}, bytes.NewReader(nil))
	one, other := &Session{}, &Session{}
	first, second, third := session.ID{1}, session.ID{2}, session.ID{3}
	*c.nearby.Place(&first), *c.nearby.Place(&second) = one, other
	frame := wire.AppendHead(nil)
	for _, h := range []wire.Header{
		{Kind: wire.KindCall, Session: first},
		{Kind: wire.KindCancel, Session: second},
		{Kind: wire.KindCall, Session: third}, // of nobody
		{Kind: wire.KindCall, Session: second},
		{Kind: wire.KindCall, Session: first}, // after the most
	} {
		frame = wire.AppendEnvelope(frame, h.Append(nil))
	}
	envelopes, err := wire.Split(frame)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Soon(envelopes, 4, nil); !slices.Equal(got, []*Session{one, other}) {
		t.Errorf("%d sessions: %v", len(got), got)
	}
	if env, ok := envelopes.Next(); !ok || len(env) != wire.HeaderSize {
		t.Error("the envelopes were taken")
	}
	short, err := wire.Split(wire.AppendEnvelope(wire.AppendHead(nil), []byte{byte(wire.KindCall), 0}))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Soon(short, 4, nil); len(got) > 0 {
		t.Errorf("an envelope without a session is for %v", got)
	}
}

// Where there are few sessions, all of them are near.
func TestMany(t *testing.T) {
	c := New(time.Unix(0, 0), Config{}, bytes.NewReader(nil))
	for i := range prefetch.Worth {
		if c.Many() {
			t.Fatalf("%d sessions are many", i)
		}
		c.sessions[session.ID{byte(i), byte(i >> 8)}] = &Session{}
	}
	if !c.Many() {
		t.Errorf("%d sessions are few", prefetch.Worth)
	}
}

// What a call touches of its session is seven lines of memory, from where the runtime's
// head of 8 bytes begins one, and its record three.
func TestACallTouchesFewLines(t *testing.T) {
	const line, head = 64, 8
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("sizes are those of 64 bits")
	}
	if n := head + unsafe.Offsetof(Session{}.open); n > 7*line {
		t.Errorf("%d bytes of the session", n)
	}
	if n := unsafe.Sizeof(Call{}); n > 3*line {
		t.Errorf("%d bytes of the call", n)
	}
}
