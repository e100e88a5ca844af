package heartbeat

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const tick = 20 * time.Millisecond

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(d time.Duration) time.Time { return start.Add(d) }

// checkUntil checks every tick up to and including end and returns what was
// said, as "at who from>to".
func checkUntil[K comparable](m *Monitor[K], from, end time.Duration) (said []string) {
	for t := from; t <= end; t += tick {
		for _, c := range m.Check(at(t)) {
			said = append(said, fmt.Sprintf("%v %v %v>%v", t, c.Who, c.From, c.To))
		}
	}
	return said
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("said %q, want %q", got, want)
	}
}

func TestSilenceGoesThroughTheStates(t *testing.T) {
	m := New[string](tick)
	m.Watch(at(0), "a", time.Second, 3)
	expect(t, checkUntil(m, 0, 5*time.Second),
		"1.26s a alive>late", "2.14s a late>suspect", "3s a suspect>gone")
	if _, _, ok := m.State("a"); ok || m.Len() != 0 {
		t.Error("one who is gone is still watched")
	}
	if _, ok := m.Beat(at(6*time.Second), "a"); ok {
		t.Error("a beat of one who is gone changed something")
	}
}

func TestBeatBringsBack(t *testing.T) {
	for _, when := range []time.Duration{1500 * time.Millisecond, 2500 * time.Millisecond} {
		m := New[string](tick)
		m.Watch(at(0), "a", time.Second, 3)
		checkUntil(m, 0, when)
		before, silent, _ := m.State("a")
		c, ok := m.Beat(at(when), "a")
		if !ok || c != (Change[string]{"a", before, Alive, silent}) || silent != when {
			t.Errorf("after %v: beat said %+v, %v; state before was %v, silent %v", when, c, ok, before, silent)
		}
		if _, ok := m.Beat(at(when), "a"); ok {
			t.Error("a second beat changed the state again")
		}
		late := when + 1260*time.Millisecond
		expect(t, checkUntil(m, when, late), fmt.Sprintf("%v a alive>late", late))
	}
}

// A long window leaves the due time of a late one far out; the beat must draw
// it in again.
func TestLateAgainUnderALongWindow(t *testing.T) {
	m := New[string](tick)
	m.Watch(at(0), "a", time.Second, 1000)
	checkUntil(m, 0, 2*time.Second)
	m.Beat(at(2*time.Second), "a")
	expect(t, checkUntil(m, 2*time.Second, 4*time.Second), "3.26s a alive>late")
}

func TestOrderIsByDueTimeThenByWatch(t *testing.T) {
	m := New[int](tick)
	for _, k := range []int{5, 3, 9, 1} {
		m.Watch(at(0), k, 100*time.Millisecond, 3)
	}
	m.Watch(at(0), 7, 90*time.Millisecond, 3)
	m.Beat(at(4*time.Millisecond), 9) // due after the others now
	var order []int
	checkUntil(m, 0, 100*time.Millisecond)
	for _, c := range m.Check(at(140 * time.Millisecond)) {
		order = append(order, c.Who)
	}
	if want := []int{7, 5, 3, 1, 9}; !slices.Equal(order, want) {
		t.Errorf("changes of %v, want %v", order, want)
	}
}

func TestSeveralStepsAreOneChange(t *testing.T) {
	m := New[string](tick)
	m.Watch(at(0), "slow", time.Minute, 3)
	m.Forget("slow")
	m.Watch(at(0), "a", 8*time.Millisecond, 3) // 24 ms: between two checks of 40 ms
	m.Check(at(0))
	if got := m.Check(at(40 * time.Millisecond)); len(got) != 1 || got[0].From != Alive || got[0].To != Gone {
		t.Errorf("said %+v, want one change from alive to gone", got)
	}
}

func TestForget(t *testing.T) {
	m := New[string](tick)
	m.Watch(at(0), "a", time.Second, 3)
	m.Watch(at(0), "b", time.Second, 3)
	m.Forget("a")
	m.Forget("nobody")
	expect(t, checkUntil(m, 0, 1300*time.Millisecond), "1.26s b alive>late")
	m.Forget("b")
	if _, ok := m.Next(); ok {
		t.Error("a next look with nobody watched")
	}
}

func TestWatchAgainChangesTheWindowAndIsNoBeat(t *testing.T) {
	m := New[string](tick)
	m.Watch(at(0), "a", time.Second, 3)
	checkUntil(m, 0, time.Second)
	m.Watch(at(time.Second), "a", 100*time.Millisecond, 5)
	expect(t, checkUntil(m, time.Second, time.Second), "1s a alive>gone")
}

func TestNextIsNeverTooLate(t *testing.T) {
	m := New[int](tick)
	if _, ok := m.Next(); ok {
		t.Error("a next look with nobody watched")
	}
	m.Watch(at(0), 1, time.Second, 3)
	if next, _ := m.Next(); !next.Equal(at(1250 * time.Millisecond)) {
		t.Errorf("next look at %v, want 1.25 s after the start", next.Sub(start))
	}
}

func TestLimitsOfWhatIsWatched(t *testing.T) {
	m := New[int](tick)
	m.Watch(at(0), 1, 0, 0)
	m.Watch(at(0), 2, -time.Hour, -1)
	m.Watch(at(0), 3, 1<<62, 1<<30)
	m.Check(at(0))
	for _, c := range m.Check(at(tick)) {
		if c.To != Gone || c.Who == 3 {
			t.Errorf("unexpected %+v", c)
		}
	}
	if m.Len() != 1 {
		t.Errorf("%d watched, want the one with the endless window", m.Len())
	}
}

func TestStoppedMonitorAccusesNobody(t *testing.T) {
	cases := []struct {
		name string
		wake func(m *Monitor[string], now time.Time) // what comes before the first Check
	}{
		{"check first", func(*Monitor[string], time.Time) {}},
		{"beat of another first", func(m *Monitor[string], now time.Time) { m.Beat(now, "other") }},
		{"watch first", func(m *Monitor[string], now time.Time) { m.Watch(now, "third", time.Second, 3) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := New[string](tick)
			m.Watch(at(0), "a", time.Second, 3)
			m.Watch(at(0), "other", time.Second, 3)
			checkUntil(m, 0, 900*time.Millisecond)
			m.Beat(at(900*time.Millisecond), "other")

			woken := time.Minute
			c.wake(m, at(woken))
			expect(t, checkUntil(m, woken, woken+300*time.Millisecond))
			m.Beat(at(woken+300*time.Millisecond), "other")
			// "a" had been silent for 0.9 s before: 0.35 s are left until late.
			expect(t, checkUntil(m, woken+320*time.Millisecond, woken+400*time.Millisecond), "1m0.36s a alive>late")
			if total, times := m.Slept(); times != 1 || total < 59*time.Second || total > time.Minute {
				t.Errorf("slept %v in %d naps, want one of 59.1 s", total, times)
			}
		})
	}
}

// At the edge of its window, with the beat unread in the socket: the first
// Check after the stop must not be the one that accuses.
func TestUnreadBeatGetsItsChance(t *testing.T) {
	m := New[string](tick)
	m.Watch(at(0), "a", time.Second, 3)
	checkUntil(m, 0, 2980*time.Millisecond)
	woken := at(10 * time.Second)
	if got := m.Check(woken); len(got) != 0 {
		t.Fatalf("the Check that ended the gap accused: %+v", got)
	}
	if c, ok := m.Beat(woken.Add(time.Millisecond), "a"); !ok || c.From != Suspect {
		t.Errorf("the unread beat said %+v, %v", c, ok)
	}
	expect(t, checkUntil(m, 10*time.Second+tick, 11*time.Second))
}

// The same where the gap shows in a beat of another, and reading takes a while.
func TestUnreadBeatGetsItsChanceBehindOthers(t *testing.T) {
	m := New[string](tick)
	m.Watch(at(0), "a", time.Second, 3)
	m.Watch(at(0), "other", time.Second, 3)
	checkUntil(m, 0, 2980*time.Millisecond)
	woken := at(10 * time.Second)
	m.Beat(woken, "other")
	if got := m.Check(woken.Add(30 * time.Millisecond)); len(got) != 0 {
		t.Fatalf("the Check that ended the gap accused: %+v", got)
	}
	if got := m.Check(woken.Add(50 * time.Millisecond)); len(got) != 1 || got[0].Who != "a" || got[0].To != Gone {
		t.Errorf("the Check after it said %+v, want a gone", got)
	}
}

func TestAlwaysLateMonitorStillFindsTheDead(t *testing.T) {
	for _, beatFirst := range []bool{false, true} {
		m := New[string](tick)
		m.Watch(at(0), "dead", time.Second, 3)
		m.Watch(at(0), "live", time.Second, 3)
		found := 0
		for round := 1; round <= 20 && found == 0; round++ {
			now := at(time.Duration(round) * 2 * time.Second)
			if beatFirst {
				m.Beat(now, "live")
			}
			for _, c := range m.Check(now.Add(time.Millisecond)) {
				if c.Who == "dead" && c.To == Gone {
					found = round
				}
				if c.Who == "live" && c.To == Gone {
					t.Error("the live one is gone")
				}
			}
			m.Beat(now.Add(2*time.Millisecond), "live")
		}
		if found == 0 || found > 8 {
			t.Errorf("beat first %v: the dead one was found in round %d, want 1 to 8", beatFirst, found)
		}
	}
}

func TestIdleMonitorDoesNotNap(t *testing.T) {
	m := New[string](tick)
	m.Watch(at(0), "a", time.Second, 3)
	m.Forget("a")
	m.Watch(at(time.Hour), "b", time.Second, 3)
	if _, times := m.Slept(); times != 0 {
		t.Errorf("%d naps while nobody was watched", times)
	}
	expect(t, checkUntil(m, time.Hour, time.Hour+1260*time.Millisecond), "1h0m1.26s b alive>late")
}

func TestClockStepsBackAreIgnored(t *testing.T) {
	m := New[string](tick)
	m.Watch(at(0), "a", time.Second, 3)
	checkUntil(m, 0, time.Second)
	m.Beat(at(-time.Hour), "a")
	if s, silent, _ := m.State("a"); s != Alive || silent != 0 {
		t.Errorf("%v, silent %v after a beat told with an old time", s, silent)
	}
	expect(t, checkUntil(m, time.Second, 2*time.Second))
}

func TestBeatAllocatesNothing(t *testing.T) {
	m := New[int](tick)
	m.Watch(at(0), 1, time.Second, 3)
	now := at(time.Millisecond)
	if n := testing.AllocsPerRun(100, func() { m.Beat(now, 1) }); n != 0 {
		t.Errorf("%v allocations a beat", n)
	}
}

// naive is a monitor without heap or clock tricks, for one that is never late.
type naive struct {
	interval map[int]time.Duration
	misses   map[int]int
	last     map[int]time.Duration
	state    map[int]State
}

func (n *naive) stateAt(k int, now time.Duration) State {
	i, silent := n.interval[k], now-n.last[k]
	window := i * time.Duration(n.misses[k])
	late := i + i/4
	switch {
	case silent >= window:
		return Gone
	case silent >= late+(window-late)/2:
		return Suspect
	case silent >= late:
		return Late
	}
	return Alive
}

func TestAgainstNaiveMonitor(t *testing.T) {
	for seed := range uint64(500) {
		againstNaive(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func againstNaive(t *testing.T, seed uint64) {
	t.Helper()
	chance := rand.New(rand.NewPCG(seed, 1))
	m := New[int](tick)
	n := naive{map[int]time.Duration{}, map[int]int{}, map[int]time.Duration{}, map[int]State{}}
	checked := time.Duration(0) // never longer ago than two ticks
	for now := time.Duration(0); now < 4*time.Second; now += time.Duration(chance.IntN(20)+1) * time.Millisecond {
		if now-checked > tick {
			checked = now
			compareCheck(t, m, &n, now)
		}
		k := chance.IntN(8)
		_, known := n.last[k]
		switch op := chance.IntN(20); {
		case op == 0 && !known:
			n.interval[k], n.misses[k] = time.Duration(chance.IntN(400)+100)*time.Millisecond, chance.IntN(4)+2
			n.last[k], n.state[k] = now, Alive
			m.Watch(at(now), k, n.interval[k], n.misses[k])
		case op == 1 && known && chance.IntN(4) == 0:
			delete(n.last, k)
			m.Forget(k)
		case op < 6 && known:
			c, changed := m.Beat(at(now), k)
			if changed != (n.state[k] != Alive) || changed && (c.From != n.state[k] || c.Silent != now-n.last[k]) {
				t.Errorf("at %v: beat of %d in %v said %+v, %v", now, k, n.state[k], c, changed)
			}
			n.last[k], n.state[k] = now, Alive
		default:
			checked = now
			compareCheck(t, m, &n, now)
		}
	}
}

func compareCheck(t *testing.T, m *Monitor[int], n *naive, now time.Duration) {
	t.Helper()
	next, waits := m.Next()
	changes := m.Check(at(now))
	if len(changes) > 0 && (!waits || next.After(at(now))) {
		t.Errorf("at %v: Next was %v, %v, but there were changes", now, next.Sub(start), waits)
	}
	for _, c := range changes {
		if c.From != n.state[c.Who] || c.Silent != now-n.last[c.Who] {
			t.Errorf("at %v: %+v, was %v", now, c, n.state[c.Who])
		}
		n.state[c.Who] = c.To
	}
	for k := range n.last {
		if want := n.stateAt(k, now); n.state[k] != want {
			t.Errorf("at %v: %d is told to be %v, want %v", now, k, n.state[k], want)
		}
		if n.state[k] == Gone {
			delete(n.last, k)
		}
	}
	if m.Len() != len(n.last) {
		t.Errorf("at %v: %d watched, want %d", now, m.Len(), len(n.last))
	}
}

// Virtual time: punctual peers whose beats queue up unread while the checker
// stops at random. None may ever be gone; one that dies must be, in bounded
// awake time.
func TestStoppedCheckerNeverAccusesThePunctual(t *testing.T) {
	for seed := range uint64(500) {
		chance := rand.New(rand.NewPCG(seed, 2))
		m := New[int](tick)
		const peers, interval = 5, 300 * time.Millisecond
		died := time.Duration(chance.IntN(5000)) * time.Millisecond // peer 0 dies then
		sent := [peers]time.Duration{}
		gone, awake := false, time.Duration(0)
		for k := range peers {
			m.Watch(at(0), k, interval, 3)
			sent[k] = time.Duration(chance.Int64N(int64(interval)))
		}
		readFirst := seed%2 == 0
		for now := time.Duration(0); now < 30*time.Second; {
			step := time.Duration(chance.IntN(int(tick)) + 1)
			if chance.IntN(60) == 0 {
				step = time.Duration(chance.IntN(3000)) * time.Millisecond // stopped
			} else if now > died && !gone {
				awake += step
			}
			now += step
			read := func() {
				for k := range peers {
					for ; sent[k] <= now && (k != 0 || sent[k] < died); sent[k] += interval {
						m.Beat(at(now), k)
					}
				}
			}
			if readFirst {
				read()
			}
			for _, c := range m.Check(at(now)) {
				if c.To != Gone {
					continue
				}
				if c.Who != 0 || now < died {
					t.Fatalf("seed %d at %v: %+v, but only 0 died, at %v", seed, now, c, died)
				}
				gone = true
			}
			if !readFirst {
				read()
			}
		}
		if !gone || awake > 4*time.Second {
			t.Fatalf("seed %d: gone %v after %v awake", seed, gone, awake)
		}
	}
}

func TestSameCallsSameAnswers(t *testing.T) {
	run := func() (said []Change[int]) {
		chance := rand.New(rand.NewPCG(7, 7))
		m := New[int](tick)
		for now := time.Duration(0); now < 3*time.Second; now += 10 * time.Millisecond {
			for range 5 {
				m.Watch(at(now), chance.IntN(1000), 100*time.Millisecond, 2)
			}
			said = append(said, m.Check(at(now))...)
		}
		return said
	}
	if a, b := run(), run(); len(a) == 0 || !slices.Equal(a, b) {
		t.Errorf("two runs said %d and %d changes, or in another order", len(a), len(b))
	}
}

func TestStateString(t *testing.T) {
	for s, want := range map[State]string{Alive: "alive", Late: "late", Suspect: "suspect", Gone: "gone", 9: "state(9)"} {
		if s.String() != want {
			t.Errorf("%d is %q, want %q", s, s, want)
		}
	}
}
