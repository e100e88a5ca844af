package main

import (
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

func TestHistogramQuantiles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h histogram
	var all []time.Duration
	for range 20_000 {
		d := time.Duration(random.ExpFloat64() * float64(200*time.Microsecond))
		all = append(all, d)
		h.Add(d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.01, 0.5, 0.99, 1} {
		want := all[int(q*float64(len(all))+0.5)-1]
		if got := h.Quantile(q); got < want || float64(got) > float64(want)*1.01+1 {
			t.Errorf("quantile %v: %v, want %v or up to 1 %% more", q, got, want)
		}
	}
	if h.Count() != 20_000 {
		t.Errorf("count %d", h.Count())
	}
	if empty := new(histogram).Quantile(0.5); empty != 0 {
		t.Errorf("empty: %v", empty)
	}
}

func TestHistogramBuckets(t *testing.T) {
	last := -1
	for _, d := range []time.Duration{-1, 0, 1, 127, 128, 129, 255, 256, 1000, time.Millisecond, time.Hour, 1 << 62} {
		b := bucketOf(d)
		if b < last || b >= len(new(histogram).buckets) {
			t.Errorf("%d lands in bucket %d after %d", d, b, last)
		}
		if d >= 0 && d <= time.Hour && (bucketTop(b) < d || b > 0 && bucketTop(b-1) >= d) {
			t.Errorf("%d is not in its bucket %d: (%d, %d]", d, b, bucketTop(b-1), bucketTop(b))
		}
		last = b
	}
}

func TestSpreadAndRatios(t *testing.T) {
	if got := spreadOf([]float64{3, 1, 2}); got != (Spread{1, 2, 3}) {
		t.Errorf("odd: %+v", got)
	}
	if got := spreadOf([]float64{4, 1, 2, 3}); got != (Spread{1, 2.5, 4}) {
		t.Errorf("even: %+v", got)
	}
	if got := spreadOf(nil); got != (Spread{}) {
		t.Errorf("none: %+v", got)
	}
	if got := ratios([]float64{10, 30}, []float64{2, 3}); !slices.Equal(got, []float64{5, 10}) {
		t.Errorf("ratios: %v", got)
	}
}

// TestComparisonPairsByRepetition has runs out of order, as the rotation leaves
// them, and a machine that halves its speed after the first repetition.
func TestComparisonPairsByRepetition(t *testing.T) {
	run := func(peer string, repetition int, calls int64) Run {
		return Run{Peer: peer, Callers: 64, Repetition: repetition, Load: Load{Calls: calls, Elapsed: time.Second, CPU: []time.Duration{time.Second, time.Second}}}
	}
	c := Comparison{Peers: []string{"a", "b"}, Runs: []Run{run("a", 0, 100), run("b", 0, 800), run("b", 1, 400), run("a", 1, 50)}}
	if got := c.Ratio("b", 64, Run.rate); got != (Spread{8, 8, 8}) {
		t.Errorf("ratio %+v, want 8 in both repetitions", got)
	}
	if got := c.Runs[0].cpu(); got != 20_000 {
		t.Errorf("CPU per million calls %v, want 20000 s: both processes count", got)
	}
}

func TestParseCPUTime(t *testing.T) {
	got, err := parseCPUTime([]byte("7 (a) b (c) S 1 7 7 0 -1 4194560 9 8 7 6 150 25 3 4 20 0 5 0 99 1 2\n"))
	if err != nil || got != 1750*time.Millisecond {
		t.Errorf("%v, %v; want 1.75s", got, err)
	}
	for _, bad := range []string{"", "7 (a", "7 (a) S 1 2", "7 (a) S 1 7 7 0 -1 4194560 9 8 7 6 x 25 3"} {
		if _, err := parseCPUTime([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

func TestParseResident(t *testing.T) {
	got, err := parseResident([]byte("5581d7a9b000-7ffd [rollup]\nRss:                1234 kB\nPss: 9 kB\n"))
	if err != nil || got != 1234<<10 {
		t.Errorf("%d, %v", got, err)
	}
	for _, bad := range []string{"", "Pss: 9 kB\n", "Rss: many kB\n"} {
		if _, err := parseResident([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}

// TestOwnUsage reads this very process, whose figures cannot be zero.
func TestOwnUsage(t *testing.T) {
	if rss, err := residentBytes(os.Getpid()); err != nil || rss < 1<<20 {
		t.Errorf("resident %d: %v", rss, err)
	}
	if _, err := cpuTime(os.Getpid()); err != nil {
		t.Error(err)
	}
	if _, err := cpuTime(-1); err == nil {
		t.Error("no process has pid -1")
	}
}
