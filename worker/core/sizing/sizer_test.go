package sizing

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var start = time.Unix(1_700_000_000, 0)

// bench is one node's pools as a test moves them.
type bench struct {
	sizer *Sizer
	now   time.Time
	looks map[string]*Look
}

func newBench(total int, pools ...Pool) *bench {
	b := &bench{sizer: New(total, pools), now: start, looks: map[string]*Look{}}
	for _, p := range pools {
		b.looks[p.Name] = &Look{Slots: p.Least}
	}
	return b
}

// waits has a broker say what waits, just now.
func (b *bench) waits(pool string, waiting, nodes int, oldest time.Duration) {
	l := b.looks[pool]
	l.Waiting, l.Share, l.Oldest, l.Told = waiting, (waiting+nodes-1)/nodes, oldest, b.now
}

// step lets d pass, and does what the sizer wants.
func (b *bench) step(d time.Duration) []Change {
	b.now = b.now.Add(d)
	changes := b.sizer.Step(b.now, func(pool string) Look { return *b.looks[pool] })
	for _, c := range changes {
		b.looks[c.Pool].Slots = max(c.Slots, b.looks[c.Pool].Held)
	}
	return changes
}

func (b *bench) expect(t *testing.T, d time.Duration, want ...string) {
	t.Helper()
	got := []string{}
	for _, c := range b.step(d) {
		got = append(got, fmt.Sprintf("%s %d to %d: %s", c.Pool, c.Was, c.Slots, c.Why))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("after %s: %q, want %q", b.now.Sub(start), got, want)
	}
}

var elastic = Pool{Name: "p", Least: 2, Most: 10, GrowAfter: time.Second, ShrinkAfter: time.Minute}

func TestGrowsByWhatWaits(t *testing.T) {
	b := newBench(0, elastic)
	b.looks["p"].Held = 2
	b.waits("p", 7, 1, 999*time.Millisecond)
	b.expect(t, 0) // not for long enough
	b.waits("p", 7, 1, time.Second)
	b.expect(t, 0, "p 2 to 4: 7 wait, the longest for 1s") // to twice what there is
	b.expect(t, 2*time.Second)                             // the broker has said nothing new
	b.waits("p", 5, 1, 3*time.Second)
	b.expect(t, 0) // there are free slots: it is on its way
	b.looks["p"].Held = 4
	b.expect(t, 0, "p 4 to 8: 5 wait, the longest for 3s")
	b.looks["p"].Held = 8
	b.step(time.Millisecond)
	b.waits("p", 1, 1, 3*time.Second)
	b.expect(t, 998*time.Millisecond) // one step in GrowAfter
	b.expect(t, time.Millisecond, "p 8 to 9: 1 wait, the longest for 3s")
	b.looks["p"].Held = 9
	b.step(time.Second)
	b.waits("p", 100, 1, 3*time.Second)
	b.expect(t, 0, "p 9 to 10: 100 wait, the longest for 3s")
	b.looks["p"].Held = 10
	b.step(time.Second)
	b.waits("p", 100, 1, time.Minute)
	b.expect(t, time.Second) // that is the most
}

func TestGrowsByItsShare(t *testing.T) {
	b := newBench(0, elastic)
	b.looks["p"].Slots, b.looks["p"].Held = 5, 5
	b.waits("p", 4, 3, time.Second)
	b.expect(t, 0, "p 5 to 7: 4 wait, the longest for 1s")
}

func TestGrowsFromNothing(t *testing.T) {
	p := elastic
	p.Least = 0
	b := newBench(0, p)
	b.waits("p", 4, 1, time.Second)
	b.expect(t, 0, "p 0 to 1: 4 wait, the longest for 1s")
}

func TestShrinkWaits(t *testing.T) {
	b := newBench(0, elastic)
	l := b.looks["p"]
	l.Slots, l.Held = 9, 9
	b.expect(t, 0)
	l.Held = 3
	b.expect(t, 59*time.Second)
	b.expect(t, time.Second) // it held 9 less than a minute ago, in the span before
	l.Held = 5
	b.expect(t, time.Second)
	l.Held = 0
	b.expect(t, 58*time.Second)
	b.expect(t, time.Second, "p 9 to 5: at most 5 of 9 were in use for 1m0s")
	b.expect(t, 59*time.Second)
	b.expect(t, time.Second, "p 5 to 2: at most 0 of 5 were in use for 1m0s")
	b.expect(t, 10*time.Minute) // that is the least
}

// TestWhoWaitsIsNeeded: a queue that cannot be served now keeps the slots.
func TestWhoWaitsIsNeeded(t *testing.T) {
	b := newBench(0, elastic)
	l := b.looks["p"]
	l.Slots, l.Held = 6, 2
	b.waits("p", 4, 1, time.Second)
	for range 10 {
		b.expect(t, time.Minute)
	}
}

func TestLendsWhatIsFree(t *testing.T) {
	a, z := elastic, elastic
	a.Name, z.Name = "a", "z"
	b := newBench(8, a, z)
	b.looks["z"].Slots, b.looks["z"].Held = 6, 6
	b.looks["a"].Held = 2
	b.expect(t, 0)
	b.looks["z"].Held = 3
	b.waits("a", 9, 1, 2*time.Second)
	b.expect(t, 4*time.Second) // z has had them free for too short
	b.expect(t, time.Second)
	b.expect(t, 5*time.Second,
		"a 2 to 4: 9 wait, the longest for 2s", "z 6 to 4: pool a needs them: 9 wait there, the longest for 2s")
	b.looks["a"].Held = 4
	b.step(time.Millisecond)
	b.waits("a", 9, 1, 6*time.Second)
	b.expect(t, time.Second, "a 4 to 5: 9 wait, the longest for 6s", "z 4 to 3: pool a needs them: 9 wait there, the longest for 6s")
	b.looks["a"].Held = 5
	b.step(time.Second)
	b.waits("a", 9, 1, 6*time.Second)
	b.expect(t, 20*time.Second) // what z uses is z's

	b.waits("a", 0, 1, 0) // and back
	b.looks["a"].Held, b.looks["z"].Held = 0, 3
	b.waits("z", 1, 1, time.Second)
	b.expect(t, 5*time.Second)
	b.waits("z", 1, 1, time.Second)
	b.expect(t, 5*time.Second, "a 5 to 4: pool z needs them: 1 wait there, the longest for 1s", "z 3 to 4: 1 wait, the longest for 1s")
}

// TestNoFlapping puts a noisy load on a pool: sessions come at random and stay
// for a second or so. Without the wait before it shrinks the pool would change
// with the noise.
func TestNoFlapping(t *testing.T) {
	const hour = int(time.Hour / (100 * time.Millisecond))
	run := func(shrinkAfter time.Duration) (changes, turns int, worst time.Duration) {
		p := Pool{Name: "p", Least: 1, Most: 100, GrowAfter: 500 * time.Millisecond, ShrinkAfter: shrinkAfter}
		b := newBench(0, p)
		l := b.looks["p"]
		chance := rand.New(rand.NewPCG(1, 2))
		var ends, queue []time.Time
		up := true
		for i := range hour {
			ends = slices.DeleteFunc(ends, func(end time.Time) bool { return !end.After(b.now) })
			for range chance.IntN(3) { // ten a second, so that ten are open
				queue = append(queue, b.now)
			}
			for len(queue) > 0 && len(ends) < l.Slots {
				worst = max(worst, b.now.Sub(queue[0]))
				queue, ends = queue[1:], append(ends, b.now.Add(time.Duration(chance.ExpFloat64()*float64(time.Second))))
			}
			l.Held = len(ends)
			if i%10 == 0 { // a beat a second
				oldest := time.Duration(0)
				if len(queue) > 0 {
					oldest = b.now.Sub(queue[0])
				}
				b.waits("p", len(queue), 1, oldest)
			}
			for _, c := range b.step(100 * time.Millisecond) {
				if changes++; up != (c.Slots > c.Was) {
					turns++
					up = !up
				}
			}
		}
		return changes, turns, worst
	}
	calm, turns, worst := run(2 * time.Minute)
	wild, wildTurns, _ := run(100 * time.Millisecond)
	t.Logf("an hour of noise: %d changes, %d of direction, the longest wait %s; without hysteresis %d and %d", calm, turns, worst, wild, wildTurns)
	if calm > 30 || turns > 20 || wild < 20*calm {
		t.Errorf("%d changes, %d of direction; without hysteresis %d", calm, turns, wild)
	}
}

// TestBoundsHold: whatever a sizer is told, every pool stays within its bounds,
// and all of them within the total; nothing that is held is taken away.
func TestBoundsHold(t *testing.T) {
	for seed := range uint64(300) {
		chance := rand.New(rand.NewPCG(seed, 7))
		total, least := chance.IntN(30), 0
		var pools []Pool
		for i := range 1 + chance.IntN(4) {
			p := Pool{Name: fmt.Sprint(i), Least: chance.IntN(4), GrowAfter: time.Second, ShrinkAfter: 10 * time.Second}
			p.Most = p.Least + chance.IntN(20)
			least += p.Least
			pools = append(pools, p)
		}
		if total > 0 {
			total = max(total, least)
		}
		b := newBench(total, pools...)
		var why []string
		for range 400 {
			for _, p := range pools {
				if l := b.looks[p.Name]; chance.IntN(3) == 0 {
					l.Held = chance.IntN(l.Slots + 1)
				}
				if chance.IntN(3) == 0 {
					b.waits(p.Name, chance.IntN(50), 1+chance.IntN(3), time.Duration(chance.IntN(3000))*time.Millisecond)
				}
			}
			sum := 0
			for _, c := range b.step(time.Duration(chance.IntN(4000)) * time.Millisecond) {
				why = append(why, c.Why)
			}
			for _, p := range pools {
				l := b.looks[p.Name]
				if sum += l.Slots; l.Slots < p.Least || l.Slots > p.Most || l.Slots < l.Held {
					t.Fatalf("seed %d: %+v has %+v", seed, p, *l)
				}
			}
			if total > 0 && sum > total {
				t.Fatalf("seed %d: %d slots of %d", seed, sum, total)
			}
		}
		if seed == 0 && !strings.Contains(strings.Join(why, "\n"), "wait") {
			t.Error("nothing ever grew")
		}
	}
}
