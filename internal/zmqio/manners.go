package zmqio

import (
	"sync/atomic"
	"time"
)

// manners are how this process gives way to other threads of the machine: by
// sched_yield(2), which lets those run that have work, and comes back at once, or
// after the little that they have. Where some program wants all that it can get of
// each processor it comes back a turn later, some 3 ms: then nobody gives way for a
// while, which is twice as long each time, so that it costs next to nothing. Any
// goroutine may use them.
type manners struct {
	until atomic.Int64 // on the loop's clock, nanoseconds: nobody gives way before
	pause atomic.Int64 // how long that was the last time
}

const (
	turnTaken  = time.Millisecond // who comes back later has lost a turn
	pauseLeast = int64(time.Second)
	pauseMost  = int64(time.Minute)
)

// polite reports whether giveWay would.
func (m *manners) polite(now time.Time) bool { return now.UnixNano() >= m.until.Load() }

// giveWay lets other threads have the processor, unless that has cost too much of
// late. Now may be a moment ago.
func (m *manners) giveWay(now time.Time) {
	if !m.polite(now) {
		return
	}
	began := time.Now()
	yield()
	m.learn(now, time.Since(began))
}

// learn takes how long it took to come back.
func (m *manners) learn(now time.Time, took time.Duration) {
	last := m.pause.Load()
	if took < turnTaken {
		if last > 0 {
			m.pause.Store(last / 2)
		}
		return
	}
	pause := min(max(2*last, pauseLeast), pauseMost)
	m.pause.Store(pause)
	m.until.Store(now.Add(took).UnixNano() + pause)
}
