package heartbeat

import (
	"fmt"
	"time"
)

// State is how long somebody has been silent, in four steps.
type State uint8

const (
	// Alive: a beat came within an interval and its grace.
	Alive State = iota
	// Late: silent for an interval and a quarter of one.
	Late
	// Suspect: half of the time from Late to Gone has passed too.
	Suspect
	// Gone: silent for the whole window (interval × misses).
	Gone
)

var stateNames = [...]string{"alive", "late", "suspect", "gone"}

// String is the state as logs and status show it.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// Change is one change of state. Silent is for how long nothing had been heard
// at that moment, less what the monitor itself slept through.
type Change[K comparable] struct {
	Who      K
	From, To State
	Silent   time.Duration
}

const (
	minInterval = time.Millisecond
	maxInterval = 24 * time.Hour
	minMisses   = 2
	maxMisses   = 10_000
)

// watched is one that is being watched. Times are on the monitor's own clock,
// which stands still while the monitor sleeps.
type watched[K comparable] struct {
	who      K
	interval time.Duration
	misses   int
	state    State
	last     time.Duration // the last beat
	due      time.Duration // when to look at it again: never later than its next change
	seq      uint64        // order of Watch
	place    int           // in Monitor.looks
}

func (w *watched[K]) window() time.Duration { return w.interval * time.Duration(w.misses) }

// silence is how long one must be silent to be in a state.
func (w *watched[K]) silence(s State) time.Duration {
	late := w.interval + w.interval/4
	switch s {
	case Alive:
		return 0
	case Late:
		return late
	case Suspect:
		return late + (w.window()-late)/2
	default:
		return w.window()
	}
}

// stateAfter is the state that a silence amounts to.
func (w *watched[K]) stateAfter(silent time.Duration) State {
	for s := Gone; s > Alive; s-- {
		if silent >= w.silence(s) {
			return s
		}
	}
	return Alive
}

// Monitor watches the beats of any number of others. It is for one goroutine.
type Monitor[K comparable] struct {
	tick time.Duration // fixed: how often Check is expected

	all     map[K]*watched[K]
	looks   []*watched[K]         // heap by due, then seq
	windows map[time.Duration]int // how many are watched with each window
	short   time.Duration         // the shortest of them
	seq     uint64
	clock   clock
}

// New is a monitor whose Check will be called about every tick; 0 means 20 ms.
func New[K comparable](tick time.Duration) *Monitor[K] {
	if tick <= 0 {
		tick = 20 * time.Millisecond
	}
	return &Monitor[K]{tick: tick, all: map[K]*watched[K]{}, windows: map[time.Duration]int{}}
}

// Watch starts to watch k, which counts as its first beat, or changes the
// interval and window of one that is watched, which does not count as a beat.
// An interval is taken as 1 ms to 24 h, misses as 2 to 10,000: one interval
// alone leaves a punctual beat no time to travel.
func (m *Monitor[K]) Watch(now time.Time, k K, interval time.Duration, misses int) {
	at := m.observe(now)
	w := m.all[k]
	if w == nil {
		m.seq++
		w = &watched[K]{who: k, last: at, seq: m.seq}
		m.all[k] = w
	} else {
		m.forgetWindow(w.window())
	}
	w.interval = max(minInterval, min(maxInterval, interval))
	w.misses = max(minMisses, min(maxMisses, misses))
	m.windows[w.window()]++
	if m.short == 0 || w.window() < m.short {
		m.short = w.window()
	}
	m.arm(w)
}

// Beat notes that k was heard. If it was late or suspect, the change back to
// Alive is returned and true. Nothing happens for one that is not watched.
func (m *Monitor[K]) Beat(now time.Time, k K) (Change[K], bool) {
	w := m.all[k]
	if w == nil {
		return Change[K]{}, false
	}
	at := m.observe(now)
	from, silent := w.state, max(0, at-w.last)
	w.last = max(w.last, at)
	if from == Alive {
		return Change[K]{}, false // its due is early now; Check sees that
	}
	w.state = Alive
	m.arm(w)
	return Change[K]{Who: k, From: from, To: Alive, Silent: silent}, true
}

// Forget stops watching k.
func (m *Monitor[K]) Forget(k K) {
	w := m.all[k]
	if w == nil {
		return
	}
	delete(m.all, k)
	m.forgetWindow(w.window())
	m.disarm(w)
}

// Check returns every change for the worse since the last Check, in the order
// in which they were due, then in the order of Watch. One who passed several
// steps is reported once, with the last of them; one who is Gone is reported
// and forgotten.
//
// A Check that finds that it comes late itself accuses nobody, see the
// package's promise.
func (m *Monitor[K]) Check(now time.Time) []Change[K] {
	at := m.observe(now)
	if !m.clock.checked() {
		return nil
	}
	var out []Change[K]
	for len(m.looks) > 0 && m.looks[0].due <= at {
		w := m.looks[0]
		if due := w.last + w.silence(w.state+1); due != w.due {
			w.due = due
			m.down(0)
			continue
		}
		out = append(out, m.accuse(w, at-w.last))
	}
	return out
}

// accuse moves one whose silence has passed a step to where it belongs.
func (m *Monitor[K]) accuse(w *watched[K], silent time.Duration) Change[K] {
	c := Change[K]{Who: w.who, From: w.state, To: w.stateAfter(silent), Silent: silent}
	w.state = c.To
	if w.state == Gone {
		m.Forget(w.who)
	} else {
		m.arm(w)
	}
	return c
}

// State is the state of k and its silence up to the latest time that the
// monitor was told; false if k is not watched.
func (m *Monitor[K]) State(k K) (State, time.Duration, bool) {
	w := m.all[k]
	if w == nil {
		return Alive, 0, false
	}
	return w.state, max(0, m.clock.now()-w.last), true
}

// Next is when Check may have something to say: before that it has nothing.
// False if nobody is watched.
func (m *Monitor[K]) Next() (time.Time, bool) {
	if len(m.looks) == 0 {
		return time.Time{}, false
	}
	return m.clock.when(m.looks[0].due), true
}

// Len is how many are watched.
func (m *Monitor[K]) Len() int { return len(m.all) }

// Slept is the time that did not count as anybody's silence because this
// process was not looking, and how often that happened.
func (m *Monitor[K]) Slept() (total time.Duration, times uint64) {
	return m.clock.slept, m.clock.naps
}

// observe takes the time that a caller passes in onto the monitor's clock.
func (m *Monitor[K]) observe(now time.Time) time.Duration {
	if len(m.all) == 0 {
		return m.clock.idle(now)
	}
	return m.clock.tell(now, max(2*m.tick, m.short/4))
}

func (m *Monitor[K]) forgetWindow(d time.Duration) {
	if m.windows[d]--; m.windows[d] > 0 {
		return
	}
	delete(m.windows, d)
	if d == m.short {
		m.short = m.shortest()
	}
}

// shortest is the shortest window watched. There are as many different windows
// as peers agreed on, few in practice.
func (m *Monitor[K]) shortest() time.Duration {
	short := time.Duration(0)
	for d := range m.windows {
		if short == 0 || d < short {
			short = d
		}
	}
	return short
}
