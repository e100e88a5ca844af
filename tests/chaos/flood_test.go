package chaos

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
)

// The flood test's cell: how many slots there are, and how many may wait. A
// client that waits already may have all but an eighth of the queue.
const (
	floodSlots = 4
	floodQueue = 1024
	floodShare = floodQueue - floodQueue/8
)

// flood is one client's opens, all at once.
type flood struct {
	gate     chan struct{} // closed: sessions that were opened may go on
	opened   atomic.Int64
	refused  atomic.Int64 // overloaded
	closed   atomic.Int64
	others   chan error // that failed otherwise
	running  sync.WaitGroup
	slowest  atomic.Int64 // refusal
	launched time.Time
}

func startFlood(cl *client.Client, opens int) *flood {
	f := &flood{gate: make(chan struct{}), others: make(chan error, opens), launched: time.Now()}
	for range opens {
		f.running.Go(func() { f.one(cl) })
	}
	return f
}

func (f *flood) one(cl *client.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	s, err := cl.Open(ctx, "count")
	if errors.Is(err, session.ErrOverloaded) {
		f.refused.Add(1)
		return
	}
	if err == nil {
		f.opened.Add(1)
		<-f.gate
		err = hold(ctx, s)
	}
	if err != nil {
		f.others <- err
		return
	}
	f.closed.Add(1)
}

// hold is what everybody does with a session here: the service time is that of
// a few calls and a moment of thought.
func hold(ctx context.Context, s *client.Session) error {
	if _, err := client.Call[int](ctx, s, "add", 1); err != nil {
		return err
	}
	time.Sleep(10 * time.Millisecond)
	return s.Close(ctx)
}

// visits opens and holds sessions one after the other, and says how long each
// open took and how many of the flood's were opened meanwhile.
func visits(t *testing.T, cl *client.Client, n int, opened func() int64) (waits []time.Duration, overtaken []int64) {
	t.Helper()
	for range n {
		before, began := opened(), time.Now()
		s := open(t, cl, "count")
		waits, overtaken = append(waits, time.Since(began)), append(overtaken, opened()-before)
		ctx, cancel := context.WithTimeout(t.Context(), long)
		if err := hold(ctx, s); err != nil {
			t.Error(err)
		}
		cancel()
	}
	slices.Sort(waits)
	slices.Sort(overtaken)
	return waits, overtaken
}

// One client opens 10,000 sessions at once. The broker keeps as many as its
// queue may hold and refuses the others at once; and another client is served
// as soon as any slot comes free, however many wait.
func TestFloodOfOpens(t *testing.T) {
	const opens = 10_000
	c := newCell(t)
	c.startNode("node", "count", floodSlots)
	neighbour := dial(t, c.url)
	idle, _ := visits(t, neighbour, 20, func() int64 { return 0 })
	service := idle[len(idle)/2] + 10*time.Millisecond
	before := resident(t, c.broker.pid())

	f := startFlood(dial(t, c.url), opens)
	const kept = floodSlots + floodShare
	eventually(t, "the flood is refused but for what may wait", func() bool { return f.refused.Load() >= opens-kept })
	atOnce := time.Since(f.launched)
	if n := f.closed.Load(); n != 0 {
		t.Errorf("%d sessions were closed before the gate opened", n)
	}
	r := c.broker.report()
	if p := r.pool("count"); p.Waiting != floodShare || p.Open != floodSlots {
		t.Errorf("%d wait and %d are open, want %d and %d", p.Waiting, p.Open, floodShare, floodSlots)
	}
	if n := f.refused.Load(); n != opens-kept || r.Counts.Overloaded != opens-kept {
		t.Errorf("%d were refused, the broker counts %d, want %d", n, r.Counts.Overloaded, opens-kept)
	}
	grown := resident(t, c.broker.pid()) - before
	if most := 64 << 20; grown > most {
		t.Errorf("the broker has grown by %d MiB, at most %d were to be expected", grown>>20, most>>20)
	}
	place := placeOf(t, neighbour)
	if place > 2 {
		t.Errorf("the neighbour's place is %d behind a flood of %d", place, floodShare)
	}

	close(f.gate)
	waits, overtaken := visits(t, neighbour, 20, f.opened.Load)
	if f.closed.Load() >= kept {
		t.Error("the flood was over before the neighbour was")
	}
	if n := overtaken[len(overtaken)-1]; n > 3*floodSlots {
		t.Errorf("while the neighbour waited for one session the flood got %d", n)
	}
	median := waits[len(waits)/2]
	if median > 4*service {
		t.Errorf("the neighbour waits %s in the flood; one service takes %s", median, service)
	}
	f.running.Wait()
	close(f.others)
	for err := range f.others {
		t.Error(err)
	}
	if n := f.closed.Load(); n != kept {
		t.Errorf("%d sessions of the flood were served, want %d", n, kept)
	}
	t.Logf("%d opens: %d refused within %s, %d waited, %d open; the broker grew by %.1f MiB",
		opens, f.refused.Load(), atOnce.Round(time.Millisecond), floodShare, floodSlots, float64(grown)/(1<<20))
	t.Logf("the neighbour: place %d; waits %s in the median (%s at most), %s while idle; service time %s; at most %d of the flood were opened while it waited",
		place, median.Round(time.Microsecond), waits[len(waits)-1].Round(time.Microsecond), idle[len(idle)/2].Round(time.Microsecond), service.Round(time.Microsecond), overtaken[len(overtaken)-1])
}

// placeOf asks for a session that is not to be had yet, and returns the place
// in the queue. The open is taken back.
func placeOf(t *testing.T, cl *client.Client) (place int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	places, ended := make(chan int, 100), make(chan error, 1)
	go func() {
		_, err := cl.Open(ctx, "count", client.WithPlace(func(n int) {
			select {
			case places <- n:
			default: // the first is looked at
			}
		}))
		ended <- err
	}()
	place = await(t, places, "the neighbour's place in the queue")
	cancel()
	if err := await(t, ended, "the end of the neighbour's open"); !errors.Is(err, session.NotRun) {
		t.Errorf("an open that was taken back ended with %v", err)
	}
	return place
}
