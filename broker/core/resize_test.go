package core

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// answered steps a broker and returns what one peer gets.
func answered(c *Core, fx *Effects, now time.Time, to wire.Peer, from wire.Peer, m wire.Control) (all []wire.Control) {
	fx.Reset()
	c.Step(now, from, wire.AppendControl(nil, m), fx)
	for _, o := range fx.Outs {
		if answer, err := wire.ParseControl(o.Env); err == nil && o.To == to {
			all = append(all, answer)
		}
	}
	return all
}

// elasticNode is a broker with one node, of a pool that grows and one that does
// not.
func elasticNode(now time.Time) (*Core, *Effects) {
	c, fx := New(now, Config{ID: uuid.UUID{15: 9}}), new(Effects)
	c.Step(now, 1, wire.AppendControl(nil, &wire.Hello{Min: 1, Max: 1, Role: wire.RoleNode, ID: uuid.UUID{15: 1}}), fx)
	c.Step(now, 1, wire.AppendControl(nil, &wire.Register{Node: 1, Name: "n", Pools: []wire.Pool{
		{Name: "fixed", Slots: 2}, {Name: "p", Slots: 1, Least: 1, Most: 4, Policy: "equal", Value: "A"},
	}}), fx)
	return c, fx
}

func TestBeatBringsSizes(t *testing.T) {
	now := time.Now()
	c, fx := elasticNode(now)
	for n := range byte(3) {
		answered(c, fx, now, 2, 2, &wire.Open{Client: uuid.UUID{15: 2}, Request: uuid.UUID{15: n + 1}, Pool: "p", Want: []string{"", "A", "B"}[n]})
	}
	now = now.Add(700 * time.Millisecond)
	c.Tick(now, fx)
	answers := answered(c, fx, now, 1, 1, &wire.Beat{})
	want := wire.Queue{Pool: "p", Waiting: 1, Oldest: 700, Nodes: 1} // one is on offer, and B is another's
	if beat, ok := answers[0].(*wire.Beat); len(answers) != 1 || !ok || !slices.Equal(beat.Queues, []wire.Queue{want}) {
		t.Fatalf("a beat is answered by %+v, want %+v in it", answers, want)
	}
	answers = answered(c, fx, now, 1, 1, &wire.Beat{Sizes: []wire.Size{
		{Pool: "p", Slots: 2, Was: 1, Why: "1 waits", Ago: 100}, {Pool: "fixed", Slots: 9, Why: "no"}, {Pool: "other", Slots: 9, Why: "no"},
	}})
	if _, ok := answers[0].(*wire.Offer); len(answers) != 2 || !ok || len(fx.Events) != 1 || fx.Events[0].Text != "1 to 2 slots: 1 waits" {
		t.Errorf("more slots bring %+v, events %+v", answers, fx.Events)
	}
	answered(c, fx, now, 1, 1, &wire.Beat{Sizes: []wire.Size{{Pool: "p", Slots: 5, Was: 1, Why: "too many"}}})
	st := c.Status(now)
	if got := st.Nodes[0].Sizes; len(got) != 1 || got[0] != (SizeStatus{Pool: "p", Slots: 2, Least: 1, Most: 4, Was: 1, Why: "1 waits", Ago: 0.1}) {
		t.Errorf("the node has %+v", got)
	}
	if st.Pools[0].Slots != 2 || st.Pools[1].Slots != 2 || st.Pools[1].Most != 4 || st.Counts.Grown != 1 || st.Counts.Shrunk != 0 {
		t.Errorf("the pools are %+v, %d grown", st.Pools, st.Counts.Grown)
	}
	if answers := answered(c, fx, now, 1, 1, &wire.Beat{Values: map[string]string{"p": "B", "other": "x"}}); len(answers) != 1 {
		t.Errorf("a slot less than are held: %+v", answers) // both are on offer
	}
	answered(c, fx, now, 1, 1, &wire.Beat{Sizes: []wire.Size{{Pool: "p", Slots: 3, Was: 2, Why: "1 waits"}}})
	if got := c.NodeSizes(1); got.Offers != 3 || got.Slots != 5 {
		t.Errorf("what wants B, once it is said: %+v", got)
	}
	if err := c.Audit(); err != nil {
		t.Error(err)
	}
}

func TestUnknownPolicyIsRefused(t *testing.T) {
	now := time.Now()
	c, fx := New(now, Config{}), new(Effects)
	answers := answered(c, fx, now, 1, 1, &wire.Register{Node: 1, Name: "n", Pools: []wire.Pool{{Name: "a", Slots: 1}, {Name: "b", Slots: 1, Policy: "fastest"}}})
	e, ok := answers[0].(*wire.Error)
	if len(answers) != 1 || !ok || e.Code != session.ErrBadMessage || !strings.HasPrefix(e.Text, `pool "b": placement policy "fastest": want one of `) {
		t.Errorf("answered by %+v", answers)
	}
	if len(c.nodes) != 0 {
		t.Error("the node is known")
	}
}
