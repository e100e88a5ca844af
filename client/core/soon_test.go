package core

import (
	"bytes"
	"slices"
	"testing"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Soon sees the sessions that are at their places, for the envelopes that it is asked
// about, and changes nothing.
func TestSoon(t *testing.T) {
	c := New(Config{}, bytes.NewReader(nil))
	one, other := &Session{}, &Session{}
	first, second, third := session.ID{1}, session.ID{2}, session.ID{3}
	*c.nearby.Place(&first), *c.nearby.Place(&second) = one, other
	frame := wire.AppendHead(nil)
	for _, h := range []wire.Header{
		{Kind: wire.KindReply, Session: first},
		{Kind: wire.KindFail, Session: second},
		{Kind: wire.KindReply, Session: third}, // of nobody
		{Kind: wire.KindReply, Session: second},
		{Kind: wire.KindReply, Session: first}, // after the most
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
	short, err := wire.Split(wire.AppendEnvelope(wire.AppendHead(nil), []byte{byte(wire.KindReply), 0}))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Soon(short, 4, nil); len(got) > 0 {
		t.Errorf("an envelope without a session is for %v", got)
	}
}
