package core

import (
	"testing"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// A value of progress comes once, also where it came before the route of its
// open and a copy of it comes after that.
func TestProgressComesOnceAroundTheRoute(t *testing.T) {
	d := newDesk(t, 1)
	d.fx.Reset()
	o, refused := d.core.Open(d.now, Wish{Pool: "p", First: &First{Method: "m", Raw: true, Tag: "call"}, Once: true}, nil, &d.fx)
	if refused != nil {
		t.Fatal(refused)
	}
	id := uuid.UUID{15: 3}
	hear := func(step uint64) (values []string) {
		h := wire.Header{Kind: wire.KindProgress, Flags: wire.FlagRaw, Node: 7, Session: id, Key: session.Key(o.request), Epoch: 1, Number: 1, Ack: step}
		d.fx.Reset()
		d.core.Step(d.now, 1, append(h.Append(nil), byte('0'+step)), &d.fx)
		for _, s := range d.fx.Steps {
			values = append(values, string(s.Body))
		}
		return values
	}
	if got := hear(2); len(got) != 1 || got[0] != "2" {
		t.Fatalf("before the route %q, want the second value", got)
	}
	d.hear(1, &wire.Opened{Request: o.request, Node: 7, Pool: "p", Session: id, Epoch: 1})
	for step := range uint64(3) {
		if got := hear(step); len(got) != 0 {
			t.Errorf("a copy of value %d that came after the route is %q", step, got)
		}
	}
	if got := hear(3); len(got) != 1 || got[0] != "3" {
		t.Errorf("behind the route %q, want the third value", got)
	}
}
