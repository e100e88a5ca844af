package heartbeat

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// checks lets a watchdog check at every tick from one moment to another, and
// returns who was accused, and when first.
func checks(d *Watchdog[string], from, to time.Duration) (who []string, when time.Duration) {
	for now := from; now <= to; now += tick {
		if over := d.Check(at(now)); len(over) > 0 {
			if who == nil {
				when = now
			}
			who = append(who, over...)
		}
	}
	return who, when
}

func TestWatchdogAccusesOnceWhenTheBudgetIsOver(t *testing.T) {
	d := NewWatchdog[string](tick)
	var a, b Ward[string]
	d.Begin(at(0), &a, "a", time.Second)
	d.Begin(at(0), &b, "b", 2*time.Second)
	who, when := checks(d, 0, 3*time.Second)
	if !slices.Equal(who, []string{"a", "b"}) || when != time.Second {
		t.Errorf("accused %q, the first at %v, want a at 1s and then b", who, when)
	}
	if d.Len() != 0 {
		t.Errorf("%d places are left", d.Len())
	}
	if silent := d.Silent(&a); silent != 3*time.Second {
		t.Errorf("a has been silent for %v, want 3s", silent)
	}
}

// What beats is left alone for as long as it does.
func TestWatchdogLeavesProgressAlone(t *testing.T) {
	d := NewWatchdog[string](tick)
	var a Ward[string]
	d.Begin(at(0), &a, "a", time.Second)
	for beat := time.Duration(0); beat < time.Minute; beat += 900 * time.Millisecond {
		d.Beat(at(beat), &a)
		if who, _ := checks(d, beat, beat+880*time.Millisecond); len(who) > 0 {
			t.Fatalf("accused after a beat at %v", beat)
		}
	}
	last := 59400 * time.Millisecond
	if who, when := checks(d, last+900*time.Millisecond, 2*time.Minute); len(who) != 1 || when != last+time.Second {
		t.Errorf("after the last beat %q was accused at %v", who, when)
	}
	d.Beat(at(2*time.Minute), &a)
	if who, when := checks(d, 2*time.Minute, 3*time.Minute); len(who) != 1 || when != 2*time.Minute+time.Second {
		t.Errorf("after one beat more %q was accused at %v", who, when)
	}
}

func TestWatchdogEndsAndForgets(t *testing.T) {
	d := NewWatchdog[string](tick)
	var a, b Ward[string]
	d.Begin(at(0), &a, "a", time.Second)
	d.Begin(at(0), &b, "b", time.Hour)
	d.End(&a)
	d.Beat(at(0), &a)
	d.Forget(&b)
	if d.Len() != 1 {
		t.Errorf("%d places, want the one that has ended", d.Len())
	}
	if who, _ := checks(d, 0, 2*time.Second); len(who) > 0 || d.Len() != 0 {
		t.Errorf("accused %q, %d places left", who, d.Len())
	}
	d.Begin(at(2*time.Second), &b, "b", time.Hour)
	d.Begin(at(2*time.Second), &b, "b", time.Second) // the next work has a shorter budget
	if who, when := checks(d, 2*time.Second, 5*time.Second); len(who) != 1 || when != 3*time.Second {
		t.Errorf("accused %q at %v, want b at 3s", who, when)
	}
}

// A process that did not run accuses nobody: the work had no chance either.
func TestWatchdogSuspectsItselfFirst(t *testing.T) {
	d := NewWatchdog[string](tick)
	var a Ward[string]
	d.Begin(at(0), &a, "a", time.Second)
	if who, _ := checks(d, 0, 900*time.Millisecond); len(who) > 0 {
		t.Fatal("accused before its time")
	}
	woken := time.Hour
	who, when := checks(d, woken, woken+time.Second)
	if len(who) != 1 || when != woken+100*time.Millisecond {
		t.Errorf("accused %q at %v, want 100 ms after the sleep", who, when-woken)
	}
}

// A process that is always late still finds what hangs.
func TestWatchdogThatIsAlwaysLateFindsTheHung(t *testing.T) {
	d := NewWatchdog[string](tick)
	var a Ward[string]
	d.Begin(at(0), &a, "a", time.Second)
	for round := 1; round <= 20; round++ {
		if over := d.Check(at(time.Duration(round) * 500 * time.Millisecond)); len(over) > 0 {
			return
		}
	}
	t.Error("not found in 20 late checks")
}

func TestWatchdogTakesNoBudgetShorterThanItsGaps(t *testing.T) {
	d := NewWatchdog[string](tick)
	var a Ward[string]
	d.Begin(at(0), &a, "a", time.Millisecond)
	if who, when := checks(d, 0, time.Second); len(who) != 1 || when != d.Least() {
		t.Errorf("accused %q at %v, want at %v", who, when, d.Least())
	}
}

func TestWatchdogAllocatesNothingPerWork(t *testing.T) {
	d := NewWatchdog[int](tick)
	var w Ward[int]
	now := at(0)
	d.Begin(now, &w, 1, time.Minute)
	if n := testing.AllocsPerRun(100, func() {
		now = now.Add(time.Microsecond)
		d.Begin(now, &w, 1, time.Minute)
		d.Beat(now, &w)
		d.End(&w)
	}); n != 0 {
		t.Errorf("%v allocations a piece of work", n)
	}
}

// Against one without a heap or a clock of its own, checked in time.
func TestAgainstNaiveWatchdog(t *testing.T) {
	for seed := range uint64(200) {
		chance := rand.New(rand.NewPCG(seed, 5))
		d := NewWatchdog[int](tick)
		var wards [8]Ward[int]
		var last, budget [8]time.Duration
		var working, told [8]bool
		for now := time.Duration(0); now < 20*time.Second; now += time.Duration(chance.IntN(20)+1) * time.Millisecond {
			k := chance.IntN(len(wards))
			switch op := chance.IntN(200); {
			case op < 10:
				budget[k] = d.Least() + time.Duration(chance.IntN(2000))*time.Millisecond
				d.Begin(at(now), &wards[k], k, budget[k])
				last[k], working[k], told[k] = now, true, false
			case op < 15:
				d.Beat(at(now), &wards[k])
				if working[k] {
					last[k], told[k] = now, false
				}
			case op == 15:
				d.End(&wards[k])
				working[k] = false
			case op == 16:
				d.Forget(&wards[k])
				working[k] = false
			}
			over := d.Check(at(now))
			for k := range wards {
				want := working[k] && !told[k] && now-last[k] >= budget[k]
				if slices.Contains(over, k) != want {
					t.Fatalf("seed %d at %v: %v are accused, %d should be: %v", seed, now, over, k, want)
				}
				told[k] = told[k] || want
			}
		}
	}
}
