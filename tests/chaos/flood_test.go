package chaos

import (
	"context"
	"errors"
	"fmt"
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

// thought is how long everybody keeps a session besides calling.
const thought = 10 * time.Millisecond

// hold is what everybody does with a session here.
func hold(ctx context.Context, s *client.Session) error {
	if _, err := client.Call[int](ctx, s, "add", 1); err != nil {
		return err
	}
	time.Sleep(thought)
	return s.Close(ctx)
}

// visits opens and holds sessions one after the other, and says how long each
// open took, how many of the flood's were opened meanwhile, and the worst place
// in the queue that it had.
func visits(t *testing.T, cl *client.Client, n int, opened func() int64) (waits []time.Duration, overtaken []int64, place int64) {
	t.Helper()
	var worst atomic.Int64
	for range n {
		before, began := opened(), time.Now()
		s := open(t, cl, "count", client.WithPlace(func(place int) { worst.Store(max(worst.Load(), int64(place))) }))
		waits, overtaken = append(waits, time.Since(began)), append(overtaken, opened()-before)
		ctx, cancel := context.WithTimeout(t.Context(), long)
		if err := hold(ctx, s); err != nil {
			t.Error(err)
		}
		cancel()
	}
	slices.Sort(waits)
	slices.Sort(overtaken)
	return waits, overtaken, worst.Load()
}

// floodOpens is how many sessions the flood asks for, floodKept how many of
// them are not refused.
const (
	floodOpens = 10_000
	floodKept  = floodSlots + floodShare
)

// One client opens 10,000 sessions at once. The broker keeps as many as its
// queue may hold and refuses the others at once; and another client is served
// as soon as any slot comes free, however many wait.
func TestFloodOfOpens(t *testing.T) {
	lease := fmt.Sprint(long.Milliseconds()) // a slow machine takes a while to launch so many, and beats are late meanwhile
	c := newCell(t, "LEASE="+lease)
	c.startNode("node", "count", floodSlots, "POOL_LEASE="+lease)
	neighbour := dial(t, c.url)
	idle, _, _ := visits(t, neighbour, 20, func() int64 { return 0 })
	t.Logf("idle: an open takes %s, one service %s", idle[len(idle)/2].Round(time.Microsecond), (idle[len(idle)/2] + thought).Round(time.Microsecond))
	before := resident(t, c.broker.pid())

	f := startFlood(dial(t, c.url), floodOpens)
	f.refusedAtOnce(t, c.broker, before)
	if place := placeOf(t, neighbour); place > 2 {
		t.Errorf("the neighbour's place is %d behind a flood of %d", place, floodShare)
	}
	close(f.gate)
	f.starvesNobody(t, neighbour)

	f.running.Wait()
	close(f.others)
	for err := range f.others {
		t.Error(err)
	}
	if n := f.closed.Load(); n != floodKept {
		t.Errorf("%d sessions of the flood were served, want %d", n, floodKept)
	}
}

// refusedAtOnce wants all that may not wait to be refused before any slot came
// free, and the broker to hold what it may and no more.
func (f *flood) refusedAtOnce(t *testing.T, broker *child, before int) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("%d were opened, %d refused, %d failed otherwise; the broker says %+v", f.opened.Load(), f.refused.Load(), len(f.others), broker.report())
		}
	}()
	eventually(t, "the flood is refused but for what may wait", func() bool { return f.refused.Load() >= floodOpens-floodKept })
	atOnce := time.Since(f.launched)
	if n := f.closed.Load(); n != 0 {
		t.Errorf("%d sessions were closed before the gate opened", n)
	}
	r := broker.report()
	if p := r.pool("count"); p.Waiting != floodShare || p.Open != floodSlots {
		t.Errorf("%d wait and %d are open, want %d and %d", p.Waiting, p.Open, floodShare, floodSlots)
	}
	if n := f.refused.Load(); n != floodOpens-floodKept || r.Counts.Overloaded < floodOpens-floodKept { // it counts copies as well
		t.Errorf("%d were refused, the broker counts %d, want %d", n, r.Counts.Overloaded, floodOpens-floodKept)
	}
	grown := resident(t, broker.pid()) - before
	if most := 64 << 20; grown > most {
		t.Errorf("the broker has grown by %d MiB, at most %d were to be expected", grown>>20, most>>20)
	}
	t.Logf("%d opens: %d refused within %s, %d waited, %d open; the broker grew by %.1f MiB",
		floodOpens, f.refused.Load(), atOnce.Round(time.Millisecond), floodShare, floodSlots, float64(grown)/(1<<20))
}

// starvesNobody has another client come and go while the flood is served: it is
// the next, or the one after, each time. Its wait is counted in services, by how
// many the flood gets meanwhile; how long one takes depends on the machine.
func (f *flood) starvesNobody(t *testing.T, neighbour *client.Client) {
	t.Helper()
	waits, overtaken, place := visits(t, neighbour, 20, f.opened.Load)
	if f.closed.Load() >= floodKept {
		t.Error("the flood was over before the neighbour was")
	}
	most, usual, median := overtaken[len(overtaken)-1], overtaken[len(overtaken)/2], waits[len(waits)/2]
	if place < 1 || place > 2 || usual > 3*floodSlots || most > floodShare/4 {
		t.Errorf("the neighbour's worst place was %d; while it waited for one session the flood got %d, and %d once", place, usual, most)
	}
	if soak() && median > 5*thought { // elsewhere the machine may be busy with others
		t.Errorf("the neighbour's median wait is %s, a service %s", median, thought)
	}
	t.Logf("in the flood: an open of the neighbour's takes %s in the median, %s at most; meanwhile at most %d of the flood were opened",
		median.Round(time.Microsecond), waits[len(waits)-1].Round(time.Microsecond), most)
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
