package worker

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/limpet-rpc/limpet/worker/core"
)

// Every ring is heard, once, whoever else rings at the same towers, peals for others, or
// has the collector run. Who has rung goes on when all of his have been heard: a ring
// that were lost would keep him waiting for ever.
func TestBellsAreHeard(t *testing.T) {
	const ringers, each, rounds = 4, 10, 3000
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(ringers*each + spareProcessors))
	ts := newTowers([]core.Pool{{Name: "p", Slots: ringers * each, Locked: true}})
	if ts == nil {
		t.Skip("no futex that tells bells apart")
	}
	var all sync.WaitGroup
	for r := range ringers {
		heard := make(chan struct{}, each)
		bells := make([]*bell, each)
		for i := range bells {
			bells[i] = ts.bell("p", r+i*ringers) // in both towers
			all.Go(func() {
				runtime.LockOSThread()
				for range rounds {
					bells[i].wait()
					heard <- struct{}{}
				}
			})
		}
		all.Go(func() {
			for n := range rounds {
				for _, b := range bells {
					b.ring()
				}
				for _, b := range bells {
					b.tower.peal()
				}
				if n%500 == r {
					runtime.GC()
				}
				for range bells {
					<-heard
				}
			}
		})
	}
	all.Wait()
}

// A thread that is about to sleep hears what is rung at that moment.
func TestBellIsHeardByWhoIsAboutToSleep(t *testing.T) {
	const rounds = 100_000
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1 + spareProcessors))
	ts := newTowers([]core.Pool{{Name: "p", Slots: 1, Locked: true}})
	if ts == nil {
		t.Skip("no futex that tells bells apart")
	}
	b := ts.bell("p", 0)
	var heard atomic.Int64
	go func() {
		runtime.LockOSThread()
		for range rounds {
			b.wait()
			heard.Add(1)
		}
	}()
	for n := range int64(rounds) {
		b.ring()
		b.tower.peal()
		for looks := 0; heard.Load() <= n; looks++ { // awake, so as to ring at once
			if looks > 1000 {
				runtime.Gosched()
			}
		}
		for range n % 64 { // and a little later each time
			heard.Load()
		}
	}
}

// Two bells that have the same bit, as sessions that follow each other on a slot may,
// hear their own rings only.
func TestBellsOfOneSlot(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(64))
	ts := newTowers([]core.Pool{{Name: "p", Slots: 2, Locked: true}})
	if ts == nil {
		t.Skip("no futex that tells bells apart")
	}
	one, other := ts.bell("p", 1), ts.bell("p", 1)
	heard := make(chan struct{})
	go func() { one.wait(); close(heard) }()
	for range 1000 {
		other.ring()
		other.tower.peal()
		other.wait()
	}
	select {
	case <-heard:
		t.Error("it heard what was rung for the other")
	default:
	}
	one.ring()
	one.tower.peal()
	<-heard
}

// One peal wakes all bells that have been rung, also where there are more of them than
// bits.
func TestPealWakesAll(t *testing.T) {
	const many = 3 * bellsInTower
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(many + spareProcessors))
	ts := newTowers([]core.Pool{{Name: "p", Slots: bellsInTower, Locked: true}})
	if ts == nil {
		t.Skip("no futex that tells bells apart")
	}
	bells := make([]*bell, many)
	var all sync.WaitGroup
	for i := range bells {
		bells[i] = ts.bell("p", i%bellsInTower)
		all.Go(func() {
			runtime.LockOSThread()
			bells[i].wait()
		})
	}
	for _, b := range bells {
		for b.sleeps.Load() == 0 {
			runtime.Gosched()
		}
	}
	for _, b := range bells {
		b.ring()
	}
	bells[0].tower.peal()
	all.Wait()
}

// Threads wait at bells where the program has processors of the runtime for them.
func TestWhoHasBells(t *testing.T) {
	if !futexes() {
		t.Skip("no futex that tells bells apart")
	}
	locked, laned := core.Pool{Name: "a", Slots: 10, Locked: true}, core.Pool{Name: "b", Slots: 10, Lanes: 2}
	grows, many := core.Pool{Name: "c", Slots: 1, Most: 20, Locked: true}, core.Pool{Name: "d", Slots: 5000, Locked: true}
	for _, test := range []struct {
		name  string
		procs int
		pools []core.Pool
		bells bool
	}{
		{"as many as slots", 10, []core.Pool{locked}, false},
		{"for the slots, and too few beside", 13, []core.Pool{locked}, false},
		{"for the slots and others", 14, []core.Pool{locked, laned}, true},
		{"not for what the pool may grow to", 20, []core.Pool{grows}, false},
		{"for what the pool may grow to", 24, []core.Pool{grows}, true},
		{"not for all pools together", 33, []core.Pool{locked, grows}, false},
		{"for those of a portion", 68, []core.Pool{many}, true},
		{"no thread is a session's", 100, []core.Pool{laned}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(test.procs))
			if got := newTowers(test.pools) != nil; got != test.bells {
				t.Errorf("bells: %v, want %v", got, test.bells)
			}
		})
	}
}
