package chaos

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/client"
)

// load is sessions that are opened, called and closed at a steady rate.
type load struct {
	clients []*client.Client
	running sync.WaitGroup
	begun   atomic.Int64 // sessions

	mu      sync.Mutex
	served  map[string]int // sessions by the node that served them
	last    map[string]int // the number of its last session
	failed  []error
	slowest time.Duration
}

// run opens so many sessions a second, whatever becomes of those before, until it
// is told to stop, and waits for all of them.
func (l *load) run(rate int, stop chan struct{}) {
	every := time.NewTicker(time.Second / time.Duration(rate))
	defer every.Stop()
	defer l.running.Wait()
	for {
		select {
		case <-stop:
			return
		case <-every.C:
		}
		n := int(l.begun.Add(1))
		l.running.Go(func() { l.session(n) })
	}
}

// lasts waits until the load has gone on for a while, on any machine: so long,
// and so many sessions.
func (l *load) lasts(t *testing.T, d time.Duration, sessions int) {
	t.Helper()
	before := int(l.begun.Load())
	time.Sleep(d)
	eventually(t, "the load goes on", func() bool { return int(l.begun.Load()) >= before+sessions })
}

func (l *load) session(n int) {
	began := time.Now()
	node, err := l.serve(l.clients[n%len(l.clients)])
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.slowest = max(l.slowest, took)
	if err != nil {
		l.failed = append(l.failed, fmt.Errorf("session %d, after %s: %w", n, took.Round(time.Millisecond), err))
		return
	}
	l.served[node]++
	l.last[node] = max(l.last[node], n)
}

// serve is one session from open to close; it returns who served it.
func (l *load) serve(cl *client.Client) (node string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	s, err := cl.Open(ctx, "count")
	if err != nil {
		return "", err
	}
	if node, err = client.Call[string](ctx, s, "name", 0); err != nil {
		return "", err
	}
	n, err := client.Call[int](ctx, s, "add", 1)
	if err != nil {
		return "", err
	}
	if n != 1 {
		return "", fmt.Errorf("session %s: %w", s.ID(), errWrongCount)
	}
	time.Sleep(3 * thought) // drains find sessions that are open
	return node, s.Close(ctx)
}

// failures says the first few of them.
func (l *load) failures(t *testing.T) {
	t.Helper()
	for _, err := range l.failed[:min(len(l.failed), 10)] {
		t.Error(err)
	}
	if len(l.failed) > 10 {
		t.Errorf("and %d more", len(l.failed)-10)
	}
}

// Both nodes and the broker are replaced by new ones while sessions come and
// go: one node is drained through the broker, the other by SIGTERM, and the
// broker by SIGTERM too. No session fails.
func TestRollingUpgrade(t *testing.T) {
	rate, between := 60, 1300*time.Millisecond
	if soak() {
		rate, between = 200, 7*time.Second
	}
	c := newCell(t, "BEAT=300", "MISSES=15")
	startNode := func(name string) *child { return c.startNode(name, "count", 8, "GRACE=60000", "BEAT=300", "MISSES=15") }
	one, two := startNode("one-old"), startNode("two-old")
	l := &load{served: map[string]int{}, last: map[string]int{}}
	for range 4 {
		l.clients = append(l.clients, dial(t, c.url))
	}
	stop, ended := make(chan struct{}), make(chan bool, 1)
	go func() { l.run(rate, stop); ended <- true }()
	step := func(what string, do func()) {
		t.Helper()
		l.lasts(t, between, rate)
		began := time.Now()
		do()
		t.Logf("%s took %s", what, time.Since(began).Round(time.Millisecond))
	}
	step("the first node, drained by the broker,", func() {
		startNode("one-new")
		c.broker.tell("drain one-old 60000")
		if text := c.broker.says("drains"); text != "<nil>" {
			t.Errorf("drain: %s", text)
		}
		one.ends()
	})
	step("the second node, by SIGTERM,", func() {
		startNode("two-new")
		two.terminate()
	})
	step("the broker, by SIGTERM,", func() {
		c.broker.terminate()
		c.startBroker()
	})
	replaced := int(l.begun.Load())
	l.lasts(t, between, 4*rate)
	close(stop)
	await(t, ended, "the end of the load")
	n := int(l.begun.Load())
	l.failures(t)
	for _, name := range []string{"one-new", "two-new"} {
		if l.last[name] <= replaced {
			t.Errorf("%s served its last session as number %d of %d, the broker was replaced at %d", name, l.last[name], n, replaced)
		}
	}
	t.Logf("%d sessions at %d a second, %d failed, the slowest took %s; served by", n, rate, len(l.failed), l.slowest.Round(time.Millisecond))
	for _, name := range slices.Sorted(maps.Keys(l.served)) {
		t.Logf("  %s: %d", name, l.served[name])
	}
	eventually(t, "every slot is free", func() bool { p := c.broker.report().pool("count"); return p.Slots == 16 && p.Free == 16 })
}
