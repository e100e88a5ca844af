package core

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// desk is a client and the envelopes of its latest step.
type desk struct {
	t    *testing.T
	core *Core
	now  time.Time
	fx   Effects
}

// newDesk returns a client whose brokers, peers 1 to n, have welcomed it.
func newDesk(t *testing.T, n int) *desk {
	t.Helper()
	d := &desk{t: t, core: New(Config{ID: uuid.UUID{15: 1}}, rand.NewChaCha8([32]byte{1})), now: time.Unix(1000, 0)}
	for p := range n {
		peer := wire.Peer(p + 1)
		d.core.AddBroker(d.now, peer, &d.fx)
		d.hear(peer, &wire.Welcome{Version: 1, Broker: uuid.UUID{byte(peer)}, Epoch: 1, Lease: 10000})
	}
	return d
}

func (d *desk) hear(from wire.Peer, m wire.Control) {
	d.t.Helper()
	d.fx.Reset()
	d.core.Step(d.now, from, wire.AppendControl(nil, m), &d.fx)
}

func (d *desk) tick(after time.Duration) {
	d.now = d.now.Add(after)
	d.fx.Reset()
	d.core.Tick(d.now, &d.fx)
}

// said returns the opens that the latest step sends to a broker.
func (d *desk) said(to wire.Peer) (opens []*wire.Open) {
	for _, out := range d.fx.Outs {
		if m, err := wire.ParseControl(out.Env); err == nil && out.To == to {
			if o, ok := m.(*wire.Open); ok {
				opens = append(opens, o)
			}
		}
	}
	return opens
}

// A place in the queue is news for whoever waits for the open. A one-call open
// has nobody who does, nor has one that was withdrawn.
func TestPlaceOfAnOpenThatNobodyWaitsFor(t *testing.T) {
	d := newDesk(t, 1)
	d.fx.Reset()
	o, refused := d.core.Open(d.now, Wish{Pool: "p", Notify: true, First: &First{Method: "m", Tag: "call"}, Once: true}, nil, &d.fx)
	if refused != nil {
		t.Fatal(refused)
	}
	d.hear(1, &wire.Queued{Request: o.request, Place: 3})
	if len(d.fx.Places) != 0 {
		t.Errorf("a place for nobody: %+v", d.fx.Places)
	}
	other, _ := d.core.Open(d.now, Wish{Pool: "p", Notify: true}, "open", &d.fx)
	d.core.Withdraw(d.now, other, &d.fx)
	d.hear(1, &wire.Queued{Request: other.request, Place: 3})
	if len(d.fx.Places) != 0 {
		t.Errorf("a place for one who has withdrawn: %+v", d.fx.Places)
	}
}

func TestShutdownEndsAttaches(t *testing.T) {
	d := newDesk(t, 1)
	d.fx.Reset()
	if refused := d.core.Attach(d.now, session.Token{Node: 7, Session: uuid.UUID{15: 3}}, "", "attach", &d.fx); refused != nil {
		t.Fatal(refused)
	}
	d.fx.Reset()
	d.core.Shutdown(d.now, &d.fx)
	if len(d.fx.Results) != 1 || d.fx.Results[0].Tag != "attach" || d.fx.Results[0].Err == nil {
		t.Errorf("whoever waits for an attach hears %+v", d.fx.Results)
	}
	if s := d.core.Sizes(); s.Attaches != 0 {
		t.Errorf("%d attaches are left", s.Attaches)
	}
}

// A broker that drains says of an open that it has not taken it: at the next
// one it is a new one, which may carry a call.
func TestDrainedOpenIsNewElsewhere(t *testing.T) {
	d := newDesk(t, 2)
	d.fx.Reset()
	o, refused := d.core.Open(d.now, Wish{Pool: "p", First: &First{Method: "m", Tag: "call"}, Once: true}, nil, &d.fx)
	if refused != nil || len(d.said(1)) != 1 {
		t.Fatal("the open was not sent to the first broker", refused)
	}
	d.now = d.now.Add(300 * time.Millisecond)
	d.hear(1, &wire.Refused{Request: o.request, Code: session.ErrDraining})
	opens := d.said(2)
	if len(opens) != 1 || opens[0].Moved || opens[0].Since != 0 {
		t.Errorf("at the second broker: %+v", opens)
	}
}

// What has expired never starts, not even where nobody gave it up.
func TestExpiredCallIsNotSent(t *testing.T) {
	d := newDesk(t, 1)
	d.fx.Reset()
	o, _ := d.core.Open(d.now, Wish{Pool: "p"}, "open", &d.fx)
	d.hear(1, &wire.Opened{Request: o.request, Node: 7, Pool: "p", Session: uuid.UUID{15: 3}, Epoch: 1})
	s := d.fx.Results[0].Session
	d.fx.Reset()
	if refused := d.core.Call(d.now, s, &Ask{Method: "m", Deadline: d.now.Add(100 * time.Millisecond), Tag: "call"}, &d.fx); refused != nil {
		t.Fatal(refused)
	}
	for range 300 {
		d.tick(20 * time.Millisecond)
		for _, out := range d.fx.Outs {
			if wire.KindOf(out.Env) == wire.KindCall {
				t.Fatal("a call is sent after its deadline")
			}
		}
	}
}
