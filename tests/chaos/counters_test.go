package chaos

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/client"
)

// counters is sessions whose counters go up while everything around them
// breaks.
type counters struct {
	*testing.T
	history  *history
	sessions []*client.Session
	stop     chan struct{}
	callers  sync.WaitGroup
}

// openCounters opens sessions over a few clients, each of which has a
// connection of its own.
func openCounters(t *testing.T, url string, sessions int) *counters {
	t.Helper()
	c := &counters{T: t, history: newHistory(sessions), stop: make(chan struct{})}
	var clients []*client.Client
	for range 4 {
		clients = append(clients, dial(t, url))
	}
	for i := range sessions {
		c.sessions = append(c.sessions, open(t, clients[i%len(clients)], "count"))
	}
	return c
}

// run has every session called by so many callers at once until halt.
func (c *counters) run(callers int) {
	for i := range c.sessions {
		for j := range callers {
			c.callers.Go(func() { c.calls(i, i*callers+j) })
		}
	}
}

func (c *counters) calls(session, caller int) {
	for n := 0; ; n++ {
		select {
		case <-c.stop:
			return
		case <-time.After(10 * time.Millisecond): // keeps the history within what can be checked
		}
		in := asked{session: session, add: n%8 != 7}
		method := "get"
		if in.add {
			method = "add"
		}
		called := time.Now()
		out, err := call[int](c.sessions[session], method, 1)
		if err != nil {
			c.Errorf("call %d of caller %d in session %d: %v", n, caller, session, err)
			return
		}
		c.history.add(caller, in, out, called, time.Now())
	}
}

func (c *counters) halt() {
	close(c.stop)
	c.callers.Wait()
}

// check wants every counter to be at what was acknowledged.
func (c *counters) check() {
	c.Helper()
	for i, s := range c.sessions {
		n, err := call[int](s, "get", 0)
		if want := c.history.acked[i]; err != nil || n != want {
			c.Errorf("session %d ends at %d, %v; %d increments were acknowledged", i, n, err, want)
		}
		if err := closeSession(s); err != nil {
			c.Errorf("close session %d: %v", i, err)
		}
	}
	c.history.check(c.T)
}

// resets breaks connections at random until ctx ends, and returns how often.
func resets(ctx context.Context, proxies ...*proxy) (times int) {
	for {
		select {
		case <-ctx.Done():
			return times
		case <-time.After(time.Duration(100+rand.IntN(400)) * time.Millisecond):
		}
		p, d := proxies[rand.IntN(len(proxies))], directions[rand.IntN(2)]
		p.add("reset_peer", d, 0.5)
		time.Sleep(time.Duration(10+rand.IntN(50)) * time.Millisecond) // whoever speaks meanwhile is cut off
		p.remove("reset_peer", d)
		times++
	}
}

// Sessions count on while their broker is killed and started again, and while
// connections are reset on both sides of it: no increment is lost, none runs
// twice, and no call ends in doubt.
func TestCountersThroughKillsAndResets(t *testing.T) {
	sessions, kills := 16, 4
	if soak() {
		sessions, kills = 64, 20
	}
	c := newCell(t, "BEAT=500", "MISSES=6", "RECOVERY=6000")
	front, back := newProxy(t, "front", c.url), newProxy(t, "back", c.url)
	for _, name := range []string{"one", "two"} {
		c.startNode(name, "count", sessions/2, "BROKER="+back.url(), "BEAT=500", "MISSES=6")
	}
	began := time.Now()
	y := openCounters(t, front.url(), sessions)
	y.run(3)
	ctx, calm := context.WithCancel(context.Background())
	broken := make(chan int, 1)
	go func() { broken <- resets(ctx, front, back) }()
	for range kills {
		before := y.history.snapshot()
		eventually(t, "every session is answered", func() bool { return t.Failed() || y.history.advanced(before, 60) })
		c.broker.kill()
		c.startBroker()
	}
	before := y.history.snapshot()
	eventually(t, "every session is answered after the last kill", func() bool { return t.Failed() || y.history.advanced(before, 60) })
	calm()
	n := <-broken
	y.halt()
	y.check()
	total := 0
	for _, acked := range y.history.acked {
		total += acked
	}
	t.Logf("%d sessions, %d kills of the broker, %d resets in %s: %d increments acknowledged, %d operations checked, longest wait for an answer %s",
		sessions, kills, n, time.Since(began).Round(time.Millisecond), total, len(y.history.all), slices.Max(y.history.pauses).Round(time.Millisecond))
}
