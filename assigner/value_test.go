package assigner

import (
	"errors"
	"testing"
	"time"
)

// says gives a node a value in pool p.
func says(n Node, value string) Node {
	n.Values = map[string]string{"p": value}
	return n
}

func wants(client, request int, value string) Request {
	r := ask(client, request)
	r.Want = value
	return r
}

// TestRoundRobinIsExact: whatever comes free when, two nodes get every other one.
func TestRoundRobinIsExact(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	tab.Join(offer(1, 4))
	tab.Join(offer(2, 64))
	tab.SetPolicy("p", RoundRobin)
	got := map[uint64]int{}
	for i := range 10_000 {
		mustAsk(t, tab, at(0), ask(1, i))
		for _, g := range tab.Grants(at(0)) {
			got[uint64(g.Node)]++
			tab.Free(at(0), g.Node, "p")
		}
	}
	if got[1] != 5000 || got[2] != 5000 {
		t.Errorf("two nodes got %v of 10,000", got)
	}
}

// TestShapedTraffic: what wants A goes to A, however busy that is.
func TestShapedTraffic(t *testing.T) {
	tab := New(RoundRobin, Limits{})
	tab.Join(says(offer(1, 1), "A"))
	tab.Join(says(offer(2, 100), "B"))
	tab.SetPolicy("p", Equal)
	for i := range 10_000 {
		mustAsk(t, tab, at(0), wants(1, i, "A"))
		for _, g := range tab.Grants(at(0)) {
			if g.Node != 1 {
				t.Fatalf("job %d that wants A is on node %v", i, g.Node)
			}
			tab.Free(at(0), g.Node, "p")
		}
	}
	if waiting := tab.Pools()[0].Waiting; waiting != 0 {
		t.Errorf("%d still wait", waiting)
	}
}

func TestValueThatIsSaidLaterServesWhoWaits(t *testing.T) {
	tab := New(Equal, Limits{})
	tab.Join(offer(1, 2))
	mustAsk(t, tab, at(0), wants(1, 1, "A"), wants(2, 2, "B"), ask(3, 3))
	want(t, "before it says anything", names(granted(tab.Grants(at(0)))), "3.3")
	tab.SetValue(1, "p", "A")
	want(t, "as A", names(granted(tab.Grants(at(0)))), "1.1")
	tab.Free(at(0), 1, "p")
	want(t, "still A", names(granted(tab.Grants(at(0)))), "")
	tab.SetValue(1, "p", "B")
	tab.SetValue(7, "p", "B")
	tab.SetValue(1, "q", "B")
	want(t, "as B", names(granted(tab.Grants(at(0)))), "2.2")
}

func TestWantNeedsAPolicyThatLooks(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	tab.Expect("p")
	mustAsk(t, tab, at(0), wants(1, 1, "A")) // nobody knows the policy yet
	tab.Join(says(offer(1, 5), "A"))
	if err := tab.Ask(at(0), wants(1, 2, "A")); !errors.Is(err, ErrNoValues) {
		t.Errorf("a want where the policy looks at none: %v", err)
	}
	want(t, "granted", names(granted(tab.Grants(at(0)))), "")
	tab.SetPolicy("p", Equal)
	want(t, "once it is equal", names(granted(tab.Grants(at(0)))), "1.1")
}

// TestPolicyOfAPool is its own until its last node has left.
func TestPolicyOfAPool(t *testing.T) {
	tab := New(Pack, Limits{})
	policy := func() Policy { return tab.Pools()[0].Policy }
	tab.SetPolicy("p", Spread) // not known yet
	tab.Join(offer(1, 4))
	if policy() != Pack {
		t.Errorf("policy %s, set before the pool was known", policy())
	}
	tab.SetPolicy("p", Spread)
	tab.Join(offer(2, 4))
	mustAsk(t, tab, at(0), ask(1, 1), ask(1, 2))
	if got := nodesOf(tab.Grants(at(0))); got[0] == got[1] {
		t.Errorf("spread gave nodes %v", got)
	}
	tab.Join(offer(3, 4))
	tab.SetPolicy("p", Pack)
	mustAsk(t, tab, at(0), ask(1, 3), ask(1, 4))
	if got := nodesOf(tab.Grants(at(0))); got[0] != got[1] {
		t.Errorf("pack gave nodes %v", got)
	}
	tab.SetPolicy("p", RoundRobin)
	for id := 3; id > 0; id-- {
		tab.Leave(offer(id, 0).ID)
	}
	if policy() != Pack {
		t.Errorf("policy %s after the last node has left, want the table's", policy())
	}
}

func TestDemand(t *testing.T) {
	tab := New(Equal, Limits{})
	tab.Join(says(offer(1, 0), "A"))
	tab.Join(says(offer(2, 0), "B"))
	labelled := ask(4, 1)
	labelled.Labels = map[string]string{"gpu": "yes"}
	other := offer(3, 0)
	other.Labels, other.Draining = labelled.Labels, true
	tab.Join(other)
	away := offer(5, 0)
	away.Away = true
	tab.Join(away)
	mustAsk(t, tab, at(1), wants(1, 1, "A"))
	mustAsk(t, tab, at(2), wants(1, 2, "B"), wants(2, 1, "B"), ask(3, 1), labelled)
	tab.Grants(at(5))
	for id, wanted := range map[int]Demand{
		1: {Waiting: 2, Oldest: 4 * time.Second, Nodes: 2},
		2: {Waiting: 3, Oldest: 3 * time.Second, Nodes: 2},
		3: {Waiting: 2, Oldest: 3 * time.Second, Nodes: 2},
		4: {},
	} {
		if got := tab.Demand(offer(id, 0).ID, "p"); got != wanted {
			t.Errorf("node %d could take %+v, want %+v", id, got, wanted)
		}
	}
}
