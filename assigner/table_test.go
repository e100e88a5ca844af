package assigner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(seconds float64) time.Time {
	return start.Add(time.Duration(seconds * float64(time.Second)))
}

func key(client, request int) (k session.OpenKey) {
	binary.BigEndian.PutUint64(k.Client[:], uint64(client))
	binary.BigEndian.PutUint64(k.Request[:], uint64(request))
	return k
}

func ask(client, request int) Request { return Request{OpenKey: key(client, request), Pool: "p"} }

func offer(id, slots int) Node {
	return Node{ID: session.NodeID(id), Name: fmt.Sprintf("n%03d", id), Slots: map[string]int{"p": slots}}
}

func mustAsk(t testing.TB, tab *Table, now time.Time, rs ...Request) {
	t.Helper()
	for _, r := range rs {
		if err := tab.Ask(now, r); err != nil {
			t.Fatalf("ask %v: %v", name(r), err)
		}
	}
}

func name(r Request) string {
	return fmt.Sprintf("%d.%d", binary.BigEndian.Uint64(r.Client[:]), binary.BigEndian.Uint64(r.Request[:]))
}

func names(rs []Request) string {
	out := make([]string, len(rs))
	for i, r := range rs {
		out[i] = name(r)
	}
	return strings.Join(out, " ")
}

func granted(gs []Grant) []Request {
	out := make([]Request, len(gs))
	for i, g := range gs {
		out[i] = g.Request
	}
	return out
}

func nodesOf(gs []Grant) (ids []int) {
	for _, g := range gs {
		ids = append(ids, int(g.Node))
	}
	return ids
}

// serveAll gives every waiting request a slot, one at a time, and returns the
// order.
func serveAll(tab *Table, now time.Time) string {
	tab.Join(offer(999, 0))
	var order []Request
	for {
		tab.Join(offer(999, 1))
		gs := tab.Grants(now)
		if len(gs) == 0 {
			return names(order)
		}
		order = append(order, granted(gs)...)
		tab.Free(now, 999, "p")
	}
}

func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func wantErr(t *testing.T, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("error %v, want %v", got, want)
	}
}

func TestPolicies(t *testing.T) {
	onHost := func(n Node, host string) Node {
		n.Labels = map[string]string{HostLabel: host}
		return n
	}
	cases := []struct {
		name   string
		policy Policy
		nodes  []Node
		taken  []int // slots in use before, by node
		want   []int // nodes of eight grants, or as many as there is room for
	}{
		{"least loaded evens out", LeastLoaded, []Node{offer(1, 4), offer(2, 4), offer(3, 4)}, []int{1, 3}, []int{2, 1, 3, 2, 1, 3, 2, 1}},
		{"least loaded counts shares", LeastLoaded, []Node{offer(1, 2), offer(2, 6)}, nil, []int{1, 2, 2, 2, 1, 2, 2, 2}},
		{"least loaded takes turns among equals", LeastLoaded, []Node{offer(3, 9), offer(1, 9), offer(2, 9)}, nil, []int{3, 1, 2, 3, 1, 2, 3, 1}},
		{"round robin ignores load", RoundRobin, []Node{offer(1, 2), offer(2, 9), offer(3, 9)}, []int{2}, []int{1, 2, 3, 1, 2, 3, 2, 3}},
		{"pack fills up", Pack, []Node{offer(1, 3), offer(2, 3), offer(3, 3)}, []int{2}, []int{2, 2, 1, 1, 1, 3, 3, 3}},
		{"spread over hosts", Spread, []Node{onHost(offer(1, 4), "a"), onHost(offer(2, 4), "a"), onHost(offer(3, 8), "b")}, nil, []int{1, 3, 2, 3, 1, 3, 2, 3}},
		{
			"spread: no label, a host of its own", Spread,
			[]Node{onHost(offer(1, 2), "a"), onHost(offer(2, 2), "a"), offer(3, 4), offer(4, 4)},
			nil,
			[]int{1, 3, 4, 2, 3, 4, 1, 3},
		},
		{
			"lowest number, then in turn", Lowest,
			[]Node{says(offer(1, 3), "9"), says(offer(2, 3), "1e1"), says(offer(3, 1), "busy"), says(offer(4, 3), "9.0")},
			nil,
			[]int{1, 4, 1, 4, 1, 4, 2, 2},
		},
		{"highest number", Highest, []Node{offer(1, 2), says(offer(2, 3), "2"), says(offer(3, 4), "10")}, nil, []int{3, 3, 3, 3, 2, 2, 2, 1}},
		{"equal without a want is least loaded", Equal, []Node{says(offer(1, 2), "A"), says(offer(2, 2), "B")}, []int{1}, []int{2, 1, 2}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tab := New(c.policy, Limits{})
			for _, n := range c.nodes {
				tab.Join(n)
			}
			for _, id := range c.taken {
				tab.Take(session.NodeID(id), "p")
			}
			for i := range 8 {
				mustAsk(t, tab, at(0), ask(1, i))
			}
			if got := nodesOf(tab.Grants(at(0))); !slices.Equal(got, c.want) {
				t.Errorf("granted nodes %v, want %v", got, c.want)
			}
		})
	}
}

func TestPolicyNames(t *testing.T) {
	for p := LeastLoaded; p <= Highest; p++ {
		got, err := ParsePolicy(p.String())
		if err != nil || got != p {
			t.Errorf("%v reads back as %v, %v", p, got, err)
		}
	}
	if _, err := ParsePolicy("fastest"); err == nil || !strings.Contains(err.Error(), "least-loaded, round-robin, pack, spread") {
		t.Errorf("error %v does not say what there is", err)
	}
	want(t, "unknown policy", Policy(9).String(), "policy(9)")
}

func TestHostChangesWithItsLabel(t *testing.T) {
	tab := New(Spread, Limits{})
	n1, n2, n3 := offer(1, 4), offer(2, 4), offer(3, 4)
	n1.Labels = map[string]string{HostLabel: "a"}
	n2.Labels = map[string]string{HostLabel: "b"}
	n3.Labels = map[string]string{HostLabel: "b"}
	tab.Join(n1)
	tab.Join(n2)
	tab.Join(n3)
	tab.Take(1, "p")
	tab.Take(1, "p")
	tab.Take(2, "p")
	mustAsk(t, tab, at(0), ask(1, 1))
	want(t, "host b has 1 of 8", tab.Grants(at(0))[0].Node, 3)
	n2.Labels = map[string]string{HostLabel: "a"}
	tab.Join(n2)
	tab.Join(n2)
	mustAsk(t, tab, at(0), ask(1, 2))
	want(t, "host b has 1 of 4, host a 3 of 8", tab.Grants(at(0))[0].Node, 3)
	mustAsk(t, tab, at(0), ask(1, 3))
	want(t, "host b has 2 of 4, host a 3 of 8", tab.Grants(at(0))[0].Node, 2)
}

func TestClientsTakeTurns(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	tab.Join(offer(1, 0))
	for i := range 500 {
		mustAsk(t, tab, at(0), ask(1, i))
	}
	mustAsk(t, tab, at(1), ask(2, 1), ask(3, 1), ask(2, 2))
	order := serveAll(tab, at(2))
	if !strings.HasPrefix(order, "1.0 2.1 3.1 1.1 2.2 1.2 1.3") {
		t.Errorf("order %.60s…", order)
	}
}

// The flood has waited for long, at slots that are held for long: a newcomer
// still waits for one grant to the other client only.
func TestBacklogDoesNotAgeAsAWhole(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	tab.Join(offer(1, 1))
	for i := range 100 {
		mustAsk(t, tab, at(0), ask(1, i))
	}
	tab.Grants(at(0))
	mustAsk(t, tab, at(3600), ask(2, 0))
	var order []Request
	for i := range 2 {
		now := at(3600 + 60*float64(i))
		tab.Free(now, 1, "p")
		order = append(order, granted(tab.Grants(now))...)
	}
	want(t, "order", names(order), "1.1 2.0")
}

func TestPriorityAndAgeing(t *testing.T) {
	prio := func(client, request, priority int) Request {
		r := ask(client, request)
		r.Priority = priority
		return r
	}
	cases := []struct {
		name  string
		aging time.Duration
		asks  map[float64][]Request
		want  string
	}{
		{"higher first", 0, map[float64][]Request{0: {prio(1, 1, 0), prio(2, 1, 3), prio(3, 1, -2)}}, "2.1 1.1 3.1"},
		{"within a client too", 0, map[float64][]Request{0: {prio(1, 1, 0), prio(1, 2, 1), prio(1, 3, 0)}}, "1.2 1.1 1.3"},
		{"clamped", 0, map[float64][]Request{0: {prio(1, 1, 8), prio(2, 1, 99), prio(3, 1, -8), prio(4, 1, -99)}}, "1.1 2.1 3.1 4.1"},
		{"a step behind", 0, map[float64][]Request{0: {prio(1, 1, 0)}, 19: {prio(2, 1, 2)}}, "2.1 1.1"},
		{"caught up", 0, map[float64][]Request{0: {prio(1, 1, 0)}, 20: {prio(2, 1, 2)}}, "1.1 2.1"},
		{"overtaken", 0, map[float64][]Request{0: {prio(1, 1, 0)}, 30: {prio(2, 1, 2)}}, "1.1 2.1"},
		{"faster", time.Second, map[float64][]Request{0: {prio(1, 1, -8)}, 17: {prio(2, 1, 8)}}, "1.1 2.1"},
		{"never", -1, map[float64][]Request{0: {prio(1, 1, 0)}, 9999: {prio(2, 1, 1)}}, "2.1 1.1"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			tab := New(LeastLoaded, Limits{Aging: c.aging})
			tab.Join(offer(1, 0))
			for _, s := range slices.Sorted(maps.Keys(c.asks)) {
				mustAsk(t, tab, at(s), c.asks[s]...)
			}
			want(t, "order", serveAll(tab, at(10000)), c.want)
		})
	}
}

// A low priority is served in the end under an endless stream of high ones.
func TestLowPriorityDoesNotStarve(t *testing.T) {
	tab := New(LeastLoaded, Limits{Aging: time.Second})
	tab.Join(offer(1, 1))
	low := ask(1, 0)
	low.Priority = -8
	mustAsk(t, tab, at(0), low)
	for i := 1; i < 100; i++ {
		now := at(float64(i) / 4)
		for _, c := range []int{1, 2} { // its own client's, and another's
			high := ask(c, i)
			high.Priority = 8
			mustAsk(t, tab, now, high)
		}
		for _, g := range tab.Grants(now) {
			if g.OpenKey == low.OpenKey {
				if g.Waited < 15*time.Second {
					t.Errorf("served after %v, before it had aged", g.Waited)
				}
				return
			}
			tab.Free(now, g.Node, "p")
		}
	}
	t.Error("never served")
}

func TestBusyLabelsBlockNobody(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	gpu, plain := offer(1, 1), offer(2, 1)
	gpu.Labels = map[string]string{"gpu": "yes", "zone": "a"}
	tab.Join(gpu)
	tab.Join(plain)
	tab.Take(1, "p")
	head := ask(1, 1)
	head.Labels = map[string]string{"gpu": "yes"}
	mustAsk(t, tab, at(0), head, ask(1, 2), ask(1, 3))
	gs := tab.Grants(at(1))
	want(t, "passes the head", names(granted(gs)), "1.2")
	want(t, "node", gs[0].Node, 2)
	tab.Free(at(2), 1, "p")
	gs = tab.Grants(at(2))
	want(t, "head's own slot", names(granted(gs)), "1.1")
	want(t, "node", gs[0].Node, 1)
	want(t, "waited", gs[0].Waited, 2*time.Second)
	tab.Free(at(3), 2, "p")
	want(t, "the rest", names(granted(tab.Grants(at(3)))), "1.3")
}

func TestLabelsThatArriveLater(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	n := offer(1, 2)
	n.Labels = map[string]string{"v": "1"}
	tab.Join(n)
	v2, v1 := ask(1, 1), ask(1, 2)
	v2.Labels, v1.Labels = map[string]string{"v": "2"}, map[string]string{"v": "1"}
	wantErr(t, tab.Ask(at(0), v2), ErrNoSuchLabels)
	n.Draining = true
	tab.Join(n)
	mustAsk(t, tab, at(0), v1) // the only one that suits is draining
	want(t, "from a draining node", len(tab.Grants(at(0))), 0)
	tab.Leave(1)
	mustAsk(t, tab, at(0), v2) // nobody there: who knows
	n.Draining, n.Labels = false, map[string]string{"v": "2"}
	tab.Join(n)
	want(t, "suits now", names(granted(tab.Grants(at(0)))), "1.1")
	n.Labels = map[string]string{"v": "1"}
	tab.Join(n)
	want(t, "relabelled while it has room", names(granted(tab.Grants(at(0)))), "1.2")
}

func TestAskErrors(t *testing.T) {
	tab := New(LeastLoaded, Limits{Queue: 16, QueuePerClient: 10})
	wantErr(t, tab.Ask(at(0), ask(1, 1)), ErrPoolUnknown)
	tab.Join(offer(1, 0))
	mustAsk(t, tab, at(0), ask(1, 0))
	wantErr(t, tab.Ask(at(0), ask(1, 0)), ErrDuplicate)
	for i := 1; i < 10; i++ {
		mustAsk(t, tab, at(0), ask(1, i))
	}
	wantErr(t, tab.Ask(at(0), ask(1, 10)), ErrQueueFull)
	for i := range 4 {
		mustAsk(t, tab, at(0), ask(2, i))
	}
	wantErr(t, tab.Ask(at(0), ask(2, 9)), ErrQueueFull) // the last eighth is for others
	mustAsk(t, tab, at(0), ask(3, 1), ask(4, 1))
	wantErr(t, tab.Ask(at(0), ask(5, 1)), ErrQueueFull)
	tab.Withdraw(key(1, 5))
	mustAsk(t, tab, at(0), ask(5, 1))
}

func TestDefaultQueueHolds1024(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	tab.Join(offer(1, 0))
	taken := 0
	for i := range 2000 {
		if tab.Ask(at(0), ask(1, i)) == nil {
			taken++
		}
	}
	for i := range 2000 {
		if tab.Ask(at(0), ask(i+2, 0)) == nil {
			taken++
		}
	}
	want(t, "taken", taken, 1024)
	want(t, "waiting", tab.Pools()[0].Waiting, 1024)
}

func TestPoolOutlivesItsNodes(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	tab.Join(offer(1, 1))
	want(t, "forgotten with a node", tab.Forget("p"), false)
	want(t, "left", tab.Leave(1), true)
	want(t, "left twice", tab.Leave(1), false)
	mustAsk(t, tab, at(0), ask(1, 1))
	want(t, "forgotten with a waiter", tab.Forget("p"), false)
	want(t, "nobody there", len(tab.Grants(at(0))), 0)
	tab.Join(offer(2, 1))
	want(t, "came back", names(granted(tab.Grants(at(1)))), "1.1")
	tab.Leave(2)
	want(t, "forgotten", tab.Forget("p"), true)
	wantErr(t, tab.Ask(at(2), ask(1, 2)), ErrPoolUnknown)
}

func TestExpiry(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	tab.Join(offer(1, 1))
	tab.Take(1, "p")
	due := func(client int, s float64) Request {
		r := ask(client, 1)
		r.Deadline = at(s)
		return r
	}
	if _, ok := tab.NextDeadline(); ok {
		t.Error("a deadline with nobody waiting")
	}
	mustAsk(t, tab, at(0), due(1, 3), due(2, 2), due(3, 3), due(4, 9), ask(5, 1))
	next, ok := tab.NextDeadline()
	want(t, "next", next, at(2))
	want(t, "ok", ok, true)
	want(t, "early", len(tab.Expired(at(1.9))), 0)
	tab.Free(at(3), 1, "p")
	gs := tab.Grants(at(3)) // three are past their deadline and must not be served
	want(t, "granted", names(granted(gs)), "4.1")
	wantErr(t, tab.Ask(at(3), due(2, 9)), ErrDuplicate)
	if _, ok := tab.Place(key(2, 1)); ok {
		t.Error("one past its deadline has a place")
	}
	next, _ = tab.NextDeadline()
	want(t, "next", next, at(2))
	want(t, "withdrawn after the deadline", tab.Withdraw(key(3, 1)), true)
	want(t, "expired", names(tab.Expired(at(3))), "2.1 1.1")
	want(t, "twice", len(tab.Expired(at(3))), 0)
	mustAsk(t, tab, at(3), due(2, 9))
}

func TestWithdraw(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	tab.Join(offer(1, 0))
	mustAsk(t, tab, at(0), ask(1, 1), ask(1, 2), ask(2, 1), ask(1, 3), ask(3, 1))
	want(t, "middle", tab.Withdraw(key(1, 2)), true)
	want(t, "again", tab.Withdraw(key(1, 2)), false)
	want(t, "last of a client", tab.Withdraw(key(2, 1)), true)
	want(t, "order", serveAll(tab, at(1)), "1.1 3.1 1.3")
	want(t, "waiting", tab.Pools()[0].Waiting, 0)
}

func TestWithdrawClient(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	tab.Join(offer(1, 0))
	other := offer(2, 0)
	other.Slots = map[string]int{"q": 0}
	tab.Join(other)
	high, elsewhere, due := ask(1, 2), ask(1, 3), ask(1, 4)
	high.Priority, elsewhere.Pool, due.Deadline = 3, "q", at(1)
	mustAsk(t, tab, at(0), ask(1, 1), ask(2, 1), high, elsewhere, due)
	tab.Grants(at(2))
	want(t, "gone", names(tab.WithdrawClient(key(1, 0).Client)), "1.1 1.2 1.3 1.4")
	want(t, "gone already", len(tab.WithdrawClient(key(1, 0).Client)), 0)
	want(t, "expired", len(tab.Expired(at(9))), 0)
	want(t, "order", serveAll(tab, at(9)), "2.1")
}

func TestHold(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	tab.Join(offer(1, 5))
	tab.Hold(7, "p", at(9))
	tab.Hold(1, "other", at(9))
	tab.Hold(1, "p", at(5))
	tab.Hold(1, "p", at(2)) // does not shorten it
	mustAsk(t, tab, at(0), ask(1, 1))
	want(t, "held", len(tab.Grants(at(4.9))), 0)
	next, _ := tab.NextHold()
	want(t, "until", next, at(5))
	tab.Join(offer(1, 6))
	want(t, "still held", len(tab.Grants(at(4.9))), 0)
	want(t, "held slots are not ready", tab.Pools()[0].Ready, 0)
	want(t, "held until", tab.Nodes()[0].Pools[0].Held, at(5))
	want(t, "over", len(tab.Grants(at(5))), 1)
	if _, ok := tab.NextHold(); ok {
		t.Error("a hold that is over")
	}
}

func TestRequeueGoesBackToTheFront(t *testing.T) {
	tab := New(LeastLoaded, Limits{Queue: 4})
	tab.Join(offer(1, 2))
	mustAsk(t, tab, at(0), ask(1, 1), ask(1, 2), ask(1, 3), ask(2, 1))
	gs := tab.Grants(at(1))
	want(t, "first two", names(granted(gs)), "1.1 2.1")
	mustAsk(t, tab, at(2), ask(3, 1), ask(4, 1))
	for _, g := range gs {
		tab.Free(at(2), 1, "p")
		if err := tab.Requeue(at(2), g); err != nil {
			t.Error(err)
		}
		wantErr(t, tab.Requeue(at(2), g), ErrDuplicate)
	}
	tab.Hold(1, "p", at(3))
	want(t, "held", len(tab.Grants(at(2))), 0)
	gs = tab.Grants(at(3))
	want(t, "the same two", names(granted(gs)), "1.1 2.1")
	want(t, "waited", gs[0].Waited, 3*time.Second)
	tab.Leave(1)
	want(t, "the rest", serveAll(tab, at(4)), "1.2 3.1 4.1 1.3")
	tab.Leave(999)
	tab.Forget("p")
	wantErr(t, tab.Requeue(at(4), gs[0]), ErrPoolUnknown)
}

func TestSlotsStayCounted(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	tab.Join(offer(1, 2))
	for range 3 {
		tab.Take(1, "p") // one more than it has
	}
	tab.Take(8, "p")
	mustAsk(t, tab, at(0), ask(1, 1))
	tab.Free(at(0), 1, "p")
	want(t, "still full", len(tab.Grants(at(0))), 0)
	tab.Join(offer(1, 4))
	want(t, "grown", len(tab.Grants(at(0))), 1)
	tab.Join(Node{ID: 1, Name: "n001"}) // serves the pool no more, three in use
	want(t, "kept", tab.Nodes()[0].Pools[0], SeatStatus{Pool: "p", Used: 3})
	mustAsk(t, tab, at(0), ask(1, 2))
	for range 3 {
		want(t, "freed", tab.Free(at(0), 1, "p"), true)
		want(t, "not served", len(tab.Grants(at(0))), 0)
	}
	want(t, "nothing left", tab.Free(at(0), 1, "p"), false)
	want(t, "unknown node", tab.Free(at(0), 8, "p"), false)
	want(t, "pools of the node", len(tab.Nodes()[0].Pools), 0)
	tab.Take(1, "new") // a session of a pool that nobody serves
	want(t, "in use", tab.Pools()[0].Used, 1)
}

func TestDrainingGetsNothingNew(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	n := offer(1, 2)
	tab.Join(n)
	n.Draining = true
	tab.Join(n)
	mustAsk(t, tab, at(0), ask(1, 1))
	want(t, "draining", len(tab.Grants(at(0))), 0)
	ps := tab.Pools()[0]
	want(t, "free and ready", [3]int{ps.Free, ps.Ready, ps.Draining}, [3]int{2, 0, 1})
	n.Draining = false
	tab.Join(n)
	want(t, "back", len(tab.Grants(at(0))), 1)
}

func TestPlaceTellsTheOrder(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	tab.Join(offer(1, 0))
	mustAsk(t, tab, at(0), ask(1, 1), ask(1, 2), ask(2, 1))
	for k, p := range map[session.OpenKey]int{key(1, 1): 1, key(2, 1): 2, key(1, 2): 3} {
		if got, ok := tab.Place(k); got != p || !ok {
			t.Errorf("place of %v: %d, %v; want %d", k, got, ok, p)
		}
	}
	if _, ok := tab.Place(key(9, 9)); ok {
		t.Error("a place for one who does not wait")
	}
	tab.Withdraw(key(1, 1))
	want(t, "waiting", names(tab.Waiting("p")), "1.2 2.1")
	want(t, "of no pool", len(tab.Waiting("q")), 0)
}

func TestStatus(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	b := Node{ID: 2, Name: "b", Slots: map[string]int{"q": 1, "p": 3}}
	tab.Join(b)
	tab.Join(Node{ID: 1, Name: "c", Slots: map[string]int{"p": -5}})
	tab.Take(2, "p")
	r := ask(1, 1)
	r.Pool = "q"
	mustAsk(t, tab, at(0), r)
	tab.Grants(at(0))
	r.OpenKey = key(1, 2)
	mustAsk(t, tab, at(1), r)
	tab.Grants(at(5))
	want(t, "p", tab.Pools()[0], PoolStatus{Name: "p", Nodes: 2, Slots: 3, Used: 1, Free: 2, Ready: 2, Room: 1024})
	want(t, "q", tab.Pools()[1], PoolStatus{
		Name: "q", Nodes: 1, Slots: 1, Used: 1, Waiting: 1, Room: 1024, Oldest: at(1), LongestWait: 4 * time.Second,
	})
	ns := tab.Nodes()
	want(t, "nodes", ns[0].Name+ns[1].Name, "bc")
	want(t, "sums", [3]int{ns[0].Slots, ns[0].Used, ns[0].Free}, [3]int{4, 2, 2})
	want(t, "seats by name", ns[0].Pools[0].Pool+ns[0].Pools[1].Pool, "pq")
}

func TestClientIsForgottenWithItsLastRequest(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	tab.Join(offer(1, 1))
	for i := range 100 {
		r := ask(i, 0)
		r.Labels = map[string]string{}
		mustAsk(t, tab, at(0), r)
		tab.Free(at(0), tab.Grants(at(0))[0].Node, "p")
	}
	p := tab.pools["p"]
	if len(p.clients)+len(p.byKey)+len(tab.waiters)+p.lines.len()+len(p.parked) != 0 {
		t.Errorf("left behind: %d clients, %d lines, %d waiters", len(p.clients), len(p.byKey), len(tab.waiters))
	}
}

func TestGrantsOfManyPoolsComeInOneOrder(t *testing.T) {
	slots := map[string]int{}
	for i := range 20 {
		slots[fmt.Sprintf("pool%02d", i)] = 1
	}
	run := func() (order []string) {
		tab := New(LeastLoaded, Limits{})
		tab.Join(Node{ID: 1, Slots: maps.Clone(slots)})
		tab.Leave(1)
		for i := range 20 {
			r := ask(1, i)
			r.Pool = fmt.Sprintf("pool%02d", 19-i)
			mustAsk(t, tab, at(0), r)
		}
		tab.Join(Node{ID: 1, Slots: maps.Clone(slots)})
		for _, g := range tab.Grants(at(0)) {
			order = append(order, g.Pool)
		}
		return order
	}
	first := run()
	want(t, "granted", len(first), 20)
	for range 5 {
		if again := run(); !slices.Equal(first, again) {
			t.Fatalf("order %v, before %v", again, first)
		}
	}
}
