package zmqio

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// basket is a handler for whom work is left, in numbers.
type basket struct {
	desk

	loop *Loop
	mu   sync.Mutex
	left []int
	size atomic.Int64 // of left
	done atomic.Int64
}

func (b *basket) Left() bool { return b.size.Load() > 0 }

func (b *basket) Gather() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done.Add(int64(len(b.left)))
	b.left = b.left[:0]
	b.size.Store(0)
}

// leave is what the goroutines of a Gatherer do.
func (b *basket) leave(n int) {
	b.mu.Lock()
	b.left = append(b.left, n)
	b.size.Add(1)
	b.mu.Unlock()
	if !b.loop.Awake() {
		b.Gather()
	}
}

// What is left is done without anybody who wakes the loop, however often it goes
// to sleep, and also when it ends meanwhile.
func TestNothingStaysLeft(t *testing.T) {
	b := &basket{}
	var err error
	if b.loop, err = NewLoop(b, Options{Tick: time.Hour}); err != nil {
		t.Fatal(err)
	}
	const many, each = 4, 2000
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ran := make(chan error, 1)
	b.leave(0) // before it runs
	go func() { ran <- b.loop.Run(ctx) }()
	var all sync.WaitGroup
	for range many {
		all.Go(func() {
			for n := range each {
				if b.leave(n); n%64 == 0 {
					b.loop.Do(func() {}) // it turns, and goes to sleep again
				}
				if n == each/2 {
					cancel()
				}
			}
		})
	}
	all.Wait()
	if err := await(t, ran, "the end of the loop"); err != nil {
		t.Fatal(err)
	}
	if got := b.done.Load(); got != many*each+1 {
		t.Errorf("%d of %d done", got, many*each+1)
	}
}

// What was left while the loop was awake keeps it from going to sleep.
func TestParkSeesWhatIsLeft(t *testing.T) {
	b := &basket{}
	b.loop = idleLoopOf(t, b)
	b.leave(1)
	if b.done.Load() != 0 || !b.Left() {
		t.Fatal("done by its goroutine although the loop was awake")
	}
	parked := make(chan error, 1)
	go func() { parked <- b.loop.park(time.Now().Add(time.Hour)) }()
	if err := await(t, parked, "the loop to see it"); err != nil {
		t.Fatal(err)
	}
}
