package worker

import (
	"math"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/limpet-rpc/limpet/worker/core"
)

const (
	// bellsInTower is how many bells share a word: a futex tells as many apart.
	bellsInTower = 32
	// awakeMost is how many threads have news at once, about: a portion of package zmqio.
	awakeMost = 64
	// spareProcessors is how many processors of the runtime there are beyond those of
	// threads with news, where these wait at bells: for the loop and everybody else.
	spareProcessors = 4
)

// bell is where the thread of a session waits that has a processor of the runtime to
// itself: inside one system call, out of which it comes back to its processor. No other
// thread hands it one over. What is rung is never lost: the ringer counts news first and
// looks at sleeps second, the thread says that it sleeps first and looks for news second, so
// that one of the two sees the other. And who peals changes the tower's rings before he
// wakes: a thread that has read them before its look for news, and found none, is either
// asleep by then, and woken, or the kernel sees that they have changed and lets it look again.
type bell struct {
	tower  *tower        // fixed
	bit    uint32        // likewise: among those of the tower
	news   atomic.Int32  // rung and not heard
	sleeps atomic.Uint32 // 1: its thread may not hear of news by itself
}

// tower is bells that are rung with one system call, however many of them have news.
type tower struct {
	rings atomic.Uint32 // the futex: counts peals
	due   atomic.Uint32 // bits of bells with news whose threads may sleep
	_     [56]byte      // a line of memory is one tower's
}

// towers are those of the pools with locked slots, by pool.
type towers struct {
	byPool map[string][]tower // fixed
	crowd  atomic.Bool        // the loop has handed over several calls at once of late
}

// newTowers returns nil where threads wait as any goroutine does: the program has not
// set GOMAXPROCS to what bells take, see pool.go's LockThread, or the kernel has no such
// futex.
func newTowers(pools []core.Pool) *towers {
	locked := 0
	for _, p := range pools {
		if p.Locked {
			locked += p.Capacity()
		}
	}
	if locked == 0 || runtime.GOMAXPROCS(0) < min(locked, awakeMost)+spareProcessors || !futexes() {
		return nil
	}
	all := &towers{byPool: map[string][]tower{}}
	for _, p := range pools {
		if p.Locked {
			all.byPool[p.Name] = make([]tower, (p.Capacity()+bellsInTower-1)/bellsInTower)
		}
	}
	return all
}

// bell returns a new one for a slot. Two may have the same bit, for a while: then one
// wakes for the other, and sleeps again.
func (ts *towers) bell(pool string, worker int) *bell {
	return &bell{tower: &ts.byPool[pool][worker/bellsInTower], bit: 1 << (worker % bellsInTower)}
}

// handed takes note of how many calls the loop has handed over at once; nil does not.
func (ts *towers) handed(n int) {
	if crowd := n > 1; ts != nil && n > 0 && ts.crowd.Load() != crowd {
		ts.crowd.Store(crowd)
	}
}

// crowded says that the loop is to send for all that end their calls, and is worth waking:
// there were several of late. A lone call is answered sooner by its own thread.
func (ts *towers) crowded() bool { return ts.crowd.Load() }

// ring counts one piece of news. Its thread hears of it with the next peal, or before.
func (b *bell) ring() {
	b.news.Add(1)
	if b.sleeps.Load() != 0 {
		b.tower.due.Or(b.bit)
	}
}

// peal wakes the threads of all bells of the tower that have been rung.
func (t *tower) peal() {
	if t.due.Load() == 0 {
		return
	}
	if bits := t.due.Swap(0); bits != 0 {
		t.rings.Add(1)
		t.wake(bits)
	}
}

// wait returns once for every ring. Only its thread calls it.
func (b *bell) wait() {
	if b.hears() {
		return
	}
	b.sleeps.Store(1)
	for {
		seen := b.tower.rings.Load()
		if b.hears() {
			break
		}
		_ = b.tower.sleep(seen, b.bit) // why it did not, or not for long, the next look shows
	}
	b.sleeps.Store(0)
}

func (b *bell) hears() bool {
	if b.news.Load() == 0 {
		return false
	}
	b.news.Add(-1)
	return true
}

// Operations of futex(2), within this process.
const (
	futexWaitBits = 9 | futexPrivate
	futexWakeBits = 10 | futexPrivate
	futexPrivate  = 128
)

// sleep sleeps unless the tower has rung since, and may wake for nothing. The runtime
// is told that the thread is in a system call: the collector does not wait for it.
func (t *tower) sleep(seen, bit uint32) (again syscall.Errno) {
	at := unsafe.Pointer(&t.rings) //nolint:gosec // the kernel's futex is an address
	_, _, again = syscall.Syscall6(unix.SYS_FUTEX, uintptr(at), futexWaitBits, uintptr(seen), 0, 0, uintptr(bit))
	return again
}

// wake wakes all whose bits these are: more than there are bits, where two bells have
// one. It does not wait, so that the runtime need not know, and cannot fail.
func (t *tower) wake(bits uint32) {
	at := unsafe.Pointer(&t.rings) //nolint:gosec // likewise

	_, _, _ = syscall.RawSyscall6(unix.SYS_FUTEX, uintptr(at), futexWakeBits, math.MaxInt32, 0, 0, uintptr(bits)) //nolint:dogsled // see above
}

// futexes reports that the kernel has what bells need: it is asked to sleep on what
// has changed.
func futexes() bool {
	var t tower
	return t.sleep(1, 1) == unix.EAGAIN
}
