package tests

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// growing is how a pool grows and shrinks that a test watches.
func growing(most int, shrinkAfter time.Duration) func(*worker.Config[*counted]) {
	return func(c *worker.Config[*counted]) {
		c.Slots, c.MinSlots, c.MaxSlots, c.GrowAfter, c.ShrinkAfter = 0, 1, most, 40*time.Millisecond, shrinkAfter
		c.LockThread = true
	}
}

var brisk = worker.Options{Beat: 50 * time.Millisecond, Misses: 200}

// sized is a pool of the only node, as its status has it.
func (c *cell) sized(t *testing.T, pool string) core.SizeStatus {
	t.Helper()
	for _, n := range c.status(t).Nodes {
		for _, s := range n.Sizes {
			if s.Pool == pool {
				return s
			}
		}
	}
	return core.SizeStatus{}
}

// openMany opens sessions all at once, and waits for all.
func openMany(t *testing.T, cl *client.Client, pool string, n int) (all []*client.Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var opening []*opening
	for range n {
		opening = append(opening, openLater(ctx, cl, pool))
	}
	for _, o := range opening {
		done := await(t, o.done, "a session for everybody who waits")
		if done.err != nil {
			t.Fatal(done.err)
		}
		all = append(all, done.session)
	}
	return all
}

// A queue makes the pool grow, and everybody in it is served; sessions that end
// make it shrink, and the one that is left does not notice.
func TestPoolGrowsAndShrinks(t *testing.T) {
	c := newCell(t, broker.Options{})
	y := newTally("p", 0, growing(6, 200*time.Millisecond))
	c.serve(t, brisk, y.pool)
	if s := c.sized(t, "p"); s.Slots != 1 || s.Least != 1 || s.Most != 6 || s.Why != "" {
		t.Errorf("it begins as %+v", s)
	}
	sessions := openMany(t, c.dial(t), "p", 6)
	if s, p := c.sized(t, "p"), c.pool(t, "p"); s.Slots != 6 || !strings.Contains(s.Why, "wait, the longest for ") || p.Slots != 6 || p.Most != 6 {
		t.Errorf("with six sessions it is %+v, %+v", s, p)
	}
	kept := sessions[3]
	mustCall[int](t, kept, "add", 7)
	for i, s := range sessions {
		if i != 3 {
			closeSession(t, s)
		}
	}
	eventually(t, "it shrinks to the one slot that is used", func() bool {
		if n := mustCall[int](t, kept, "add", 0); n != 7 {
			t.Fatalf("the session that is left has %d", n)
		}
		return c.sized(t, "p").Slots == 1
	})
	if s := c.sized(t, "p"); !strings.Contains(s.Why, "in use for 200ms") || s.Was < 2 {
		t.Errorf("it shrank as %+v", s)
	}
	resized := 0
	events, _, err := c.broker.Feed().After(t.Context(), 0)
	for _, e := range events {
		if e.What == core.EventResized && e.Pool == "p" && strings.Contains(e.Text, " slots: ") {
			resized++
		}
	}
	if err != nil || resized < 2 {
		t.Errorf("%d events tell of it, %v", resized, err)
	}
}

// Two pools share their slots: what one leaves free the other gets, long before
// it would have shrunk by itself.
func TestPoolsLendSlots(t *testing.T) {
	c := newCell(t, broker.Options{})
	o := brisk
	o.SharedSlots = 4
	c.serve(t, o, newTally("a", 0, growing(4, time.Hour)).pool, newTally("b", 0, growing(4, time.Hour)).pool)
	cl := c.dial(t)
	for _, turn := range []struct{ uses, idle string }{{"a", "b"}, {"b", "a"}, {"a", "b"}} {
		sessions := openMany(t, cl, turn.uses, 3)
		if uses, idle := c.sized(t, turn.uses), c.sized(t, turn.idle); uses.Slots != 3 || idle.Slots != 1 {
			t.Errorf("with three sessions in %s: %+v, %+v", turn.uses, uses, idle)
		}
		for _, s := range sessions {
			closeSession(t, s)
		}
	}
	if s := c.sized(t, "b"); !strings.Contains(s.Why, "pool a needs them: ") {
		t.Errorf("b shrank as %+v", s)
	}
}

// Warm workers stand on the slots that there are.
func TestWarmWorkersOfAPoolThatGrows(t *testing.T) {
	c := newCell(t, broker.Options{})
	k := newKitchen(worker.Config[int]{MaxSlots: 4, Warm: 3, GrowAfter: 40 * time.Millisecond, ShrinkAfter: 200 * time.Millisecond, LockThread: true})
	c.serve(t, brisk, k.pool)
	eventually(t, "one is ready", k.has(1))
	for _, s := range openMany(t, c.dial(t), "kitchen", 4) {
		if at := mustCall[[]int](t, s, "thread", 0); at[0] != at[1] {
			t.Errorf("prepared on thread %d, called on %d", at[0], at[1])
		}
		closeSession(t, s)
	}
	eventually(t, "warm workers end with the slots", func() bool {
		k.mu.Lock()
		defer k.mu.Unlock()
		drained := 0
		for _, why := range k.closed {
			if errors.Is(why, session.ErrSessionDrained) {
				drained++
			}
		}
		return drained >= 2 && c.sized(t, "kitchen").Slots == 1
	})
}

// A session a process: what waits has processes started, and those that nobody
// needs end; the session that is left keeps its own.
func TestProcessesComeAndGo(t *testing.T) {
	c, records := isolatedCell(t)
	isolated(t, c, records, 1, 1, "MOST=3", "GROW=100", "SHRINK=1000")
	cl := c.dial(t)
	sessions := openMany(t, cl, "isolated", 3)
	pids := map[int]bool{}
	for _, s := range sessions {
		pids[mustCall[int](t, s, "pid", 0)] = true
	}
	if len(pids) != 3 {
		t.Errorf("%d processes", len(pids))
	}
	eventually(t, "two say why they were started", func() bool {
		why := 0
		for _, n := range c.status(t).Nodes {
			if len(n.Sizes) == 1 && strings.Contains(n.Sizes[0].Why, "wait, the longest for ") {
				why++
			}
		}
		return why == 2
	})
	kept := sessions[1]
	mustCall[int](t, kept, "add", 7)
	closeSession(t, sessions[0])
	closeSession(t, sessions[2])
	eventually(t, "the other processes end", func() bool { return len(c.status(t).Nodes) == 1 })
	if n := mustCall[int](t, kept, "add", 0); n != 7 {
		t.Errorf("the session that is left has %d", n)
	}
	if st := c.status(t); len(st.Lost) != 0 {
		t.Errorf("lost: %+v", st.Lost)
	}
}

func TestSizingMistakes(t *testing.T) {
	bounds := func(slots, least, most int) func(*worker.Config[*counted]) {
		return func(c *worker.Config[*counted]) { c.Slots, c.MinSlots, c.MaxSlots = slots, least, most }
	}
	for _, m := range []struct {
		change func(*worker.Config[*counted])
		o      worker.Options
		want   string
	}{
		{bounds(3, 4, 5), worker.Options{}, `pool "p": MinSlots 4, Slots 3, MaxSlots 5: want them in this order`},
		{bounds(6, 1, 5), worker.Options{}, "want them in this order"},
		{bounds(6, 2, 0), worker.Options{}, "want them in this order"},
		{bounds(2, 1, 1<<24+1), worker.Options{}, "want them in this order"},
		{bounds(5, 1, 5), worker.Options{SharedSlots: 4}, "SharedSlots is 4: the pools with MaxSlots begin with 5 slots"},
		{bounds(5, 0, 0), worker.Options{SharedSlots: 4}, "SharedSlots is 4: the pools with MaxSlots begin with 0 slots"},
		{bounds(2, 2, 5), worker.Options{SlotsPerProcess: 2}, "MinSlots 2, Slots 2 and MaxSlots 5 have to be whole processes of 2"},
		{bounds(2, 2, 4), worker.Options{SlotsPerProcess: 2, SharedSlots: 1}, "SharedSlots is 1: the pools with MaxSlots begin with 2 slots"},
		{bounds(2, 1, 5000), worker.Options{SlotsPerProcess: 1}, "5000 slots, 1 a process: more than 4096 worker processes"},
		{func(c *worker.Config[*counted]) { c.GrowAfter = -1 }, worker.Options{}, "GrowAfter -1ns"},
	} {
		m.o.Logger = quiet()
		if err := worker.Serve(t.Context(), m.o, newTally("p", 1, m.change).pool); err == nil || !strings.Contains(err.Error(), m.want) {
			t.Errorf("%v, want %q", err, m.want)
		}
	}
}
