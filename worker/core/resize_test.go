package core

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// newElastic is a node of two brokers whose pool p has 1 to 6 slots.
func newElastic(t *testing.T) *served {
	t.Helper()
	s := &served{t: t, now: time.Unix(1000, 0)}
	cfg := Config{Node: 7, Name: "n", Pools: []Pool{
		{Name: "fixed", Slots: 2},
		{Name: "p", Slots: 1, Least: 1, Most: 6, GrowAfter: time.Second, ShrinkAfter: 10 * time.Second, Bare: true, Valued: true},
	}}
	s.core = New(s.now, cfg, bytes.NewReader(bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7}, 1<<12)))
	for peer := wire.Peer(1); peer <= 2; peer++ {
		s.core.AddBroker(s.now, peer, &s.fx)
		s.hear(peer, &wire.Welcome{Version: 1, Broker: uuid.UUID{byte(peer)}, Epoch: 1}, &wire.Registered{Epoch: 1})
	}
	return s
}

// tick lets d pass and returns the beats that go out.
func (s *served) tick(d time.Duration) (beats []*wire.Beat) {
	s.now = s.now.Add(d)
	s.fx.Reset()
	s.core.Tick(s.now, &s.fx)
	for _, o := range s.fx.Outs {
		if m, err := wire.ParseControl(o.Env); err == nil && m.Kind() == wire.KindBeat {
			beats = append(beats, m.(*wire.Beat))
		}
	}
	if err := s.core.Audit(); err != nil {
		s.t.Error(err)
	}
	return beats
}

func (s *served) offer(n byte) wire.Control {
	s.t.Helper()
	s.hear(1, &wire.Offer{Epoch: 1, Client: uuid.UUID{9}, Request: uuid.UUID{n}, Pool: "p"})
	m, err := wire.ParseControl(s.fx.Outs[0].Env)
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// What waits at all brokers together makes the pool grow; each is told at once,
// and a slot with a session is never shut.
func TestPoolIsResized(t *testing.T) {
	s := newElastic(t)
	s.tick(0)
	if m := s.offer(1); m.Kind() != wire.KindAccept {
		t.Fatalf("the first offer: %+v", m)
	}
	if m, ok := s.offer(2).(*wire.Decline); !ok || m.Code != session.ErrOverloaded {
		t.Fatalf("the second offer: %+v", m)
	}
	wait := func(peer wire.Peer, n, nodes uint32) {
		s.hear(peer, &wire.Beat{Epoch: 1, Reply: true, Queues: []wire.Queue{
			{Pool: "p", Waiting: n, Oldest: 1500, Nodes: nodes}, {Pool: "fixed", Waiting: 9, Oldest: 9999, Nodes: 1},
		}})
	}
	wait(1, 1, 1)
	wait(2, 5, 5)
	s.tick(10 * time.Millisecond)
	first := []Resized{{"p", 2}}
	if !slices.Equal(s.fx.Resized, first) || len(s.fx.Events) != 1 || s.fx.Events[0].Text != "1 to 2 slots: 6 wait, the longest for 1.5s" {
		t.Fatalf("resized %+v, events %+v", s.fx.Resized, s.fx.Events)
	}
	beats := s.tick(50 * time.Millisecond)
	want := []wire.Size{{Pool: "p", Slots: 2, Was: 1, Why: "6 wait, the longest for 1.5s", Ago: 50}}
	if len(beats) != 2 || !slices.Equal(beats[0].Sizes, want) || !slices.Equal(beats[1].Sizes, want) {
		t.Fatalf("beats %+v, want two with %+v", beats, want)
	}
	if m, ok := s.offer(3).(*wire.Accept); !ok || m.Live.Worker != 1 {
		t.Fatalf("the next offer: %+v", m)
	}
	s.hear(1, &wire.Beat{Epoch: 1, Reply: true})
	s.hear(2, &wire.Beat{Epoch: 1, Reply: true})
	s.hear(1, &wire.Revoke{Epoch: 1, Client: uuid.UUID{9}, Request: uuid.UUID{1}, Code: session.ErrWithdrawn}) // slot 0 is free
	if stop := s.fx.Stop; len(stop) == 1 && !stop[0].Over {
		s.core.Closed(s.now, stop[0].Session, &s.fx)
	}
	for range 30 {
		s.hear(1, &wire.Beat{Epoch: 1, Reply: true})
		s.tick(time.Second)
	}
	if n := s.core.Sizes(); n.Slots != 3 || n.Free != 2 || n.Opens != 1 { // those of fixed are two
		t.Fatalf("after 30 s: %+v", n)
	}
	left := s.core.Sessions()
	if len(left) != 1 || left[0].Worker() != 1 {
		t.Errorf("the session that is left: %+v", left)
	}
}

// A node that is cut off, or drains, stays as large as it is.
func TestNobodyToAskNothingToResize(t *testing.T) {
	s := newElastic(t)
	s.offer(1)
	s.hear(1, &wire.Beat{Epoch: 1, Reply: true, Queues: []wire.Queue{{Pool: "p", Waiting: 5, Oldest: 5000, Nodes: 1}}})
	s.core.Drain()
	if s.tick(time.Millisecond); len(s.fx.Resized) != 0 {
		t.Errorf("a draining node: %+v", s.fx.Resized)
	}
	s = newElastic(t)
	s.offer(1)
	s.hear(1, &wire.Beat{Epoch: 1, Reply: true, Queues: []wire.Queue{{Pool: "p", Waiting: 5, Oldest: 5000, Nodes: 1}}})
	for peer := wire.Peer(1); peer <= 2; peer++ {
		s.core.Renewed(s.now, peer, &s.fx)
	}
	if s.tick(time.Millisecond); len(s.fx.Resized) != 0 {
		t.Errorf("a node without brokers: %+v", s.fx.Resized)
	}
}

func TestSay(t *testing.T) {
	s := newElastic(t)
	s.tick(0)
	if err := s.core.Say("p", "A"); err != nil {
		t.Fatal(err)
	}
	if beats := s.tick(time.Millisecond); len(beats) != 2 || beats[0].Values["p"] != "A" {
		t.Errorf("a new value brings %+v", beats)
	}
	for value, want := range map[string]string{strings.Repeat("x", 256): "256 bytes, at most 255", "\xff": "not UTF-8"} {
		if err := s.core.Say("p", value); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.10q: %v, want %q", value, err, want)
		}
	}
	if s.core.Say("p", "A") != nil || s.core.Say("fixed", "A") != nil || s.core.Say("none", "A") != nil || len(s.tick(time.Millisecond)) != 0 {
		t.Error("what is known, or not wanted, is told")
	}
	s.fx.Reset()
	s.core.Renewed(s.now, 1, &s.fx)
	s.hear(1, &wire.Welcome{Version: 1, Broker: uuid.UUID{1}, Epoch: 1})
	m, err := wire.ParseControl(s.fx.Outs[len(s.fx.Outs)-1].Env)
	if r, ok := m.(*wire.Register); err != nil || !ok || r.Pools[1].Value != "A" || r.Pools[1].Most != 6 || r.Pools[0].Most != 0 {
		t.Errorf("it registers by %+v, %v", m, err)
	}
}
