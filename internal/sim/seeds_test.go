package sim

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

var (
	seeds   = flag.Int("seeds", 2000, "how many seeds TestSeeds runs")
	first   = flag.Uint64("first", 1, "the first of them")
	history = flag.Bool("history", false, "write the whole history of every seed to standard output")
)

// failuresMost is how many seeds may fail before the rest is left out.
const failuresMost = 5

func TestSeeds(t *testing.T) {
	if *history {
		for i := range *seeds {
			r := Run(*first+uint64(i), os.Stdout)
			report(t, *first+uint64(i), &r)
		}
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	began := time.Now()
	var total Result
	failed := 0
	run(*first, *seeds, func(seed uint64, r Result) (more bool) {
		if r.Failure != nil {
			report(t, seed, &r)
			failed++
		}
		total.add(&r)
		return failed < failuresMost
	})
	d := time.Since(began)
	t.Logf("%d seeds in %s (%.0f/s), %s of virtual time, at most %s, %d steps; calls: %d done, %d not run, %d unknown; opens: %d opened, %d refused; broadcasts: %d complete, members: %v",
		*seeds, d.Round(time.Millisecond), float64(*seeds)/d.Seconds(), total.Virtual.Round(time.Second), total.Longest.Round(time.Second), total.Steps,
		total.Done, total.NotRun, total.Unknown, total.Opened, total.Refused, total.Casts, &total)
}

func report(t *testing.T, seed uint64, r *Result) {
	t.Helper()
	if r.Failure != nil {
		t.Errorf("seed %d: %v\n  %s\n  again: go test ./internal/sim -run TestSeeds -seeds 1 -first %d -history", seed, r.Failure, r.Plan, seed)
	}
}

// run runs n seeds on all processors and hands each result to took, one at a
// time, until that has had enough.
func run(first uint64, n int, took func(seed uint64, r Result) (more bool)) {
	begin := func(seed uint64) *World { return newWorld(seed, nil) }
	runAll(first, n, begin, func(seed uint64, w *World) bool { return took(seed, w.result()) })
}

// runAll does so with worlds of any kind.
func runAll(first uint64, n int, begin func(seed uint64) *World, took func(seed uint64, w *World) (more bool)) {
	var mu sync.Mutex
	var workers sync.WaitGroup
	next, end := first, first+uint64(n)
	for range min(runtime.GOMAXPROCS(0), n) {
		workers.Go(func() {
			mu.Lock()
			defer mu.Unlock()
			for next < end {
				seed := next
				next++
				mu.Unlock()
				w := begin(seed)
				w.runSafely()
				mu.Lock()
				if !took(seed, w) {
					end = min(end, next)
				}
			}
		})
	}
	workers.Wait()
}

func (r *Result) add(o *Result) {
	r.Steps += o.Steps
	r.Virtual += o.Virtual
	r.Longest = max(r.Longest, o.Virtual)
	r.Done += o.Done
	r.NotRun += o.NotRun
	r.Unknown += o.Unknown
	r.Opened += o.Opened
	r.Refused += o.Refused
	r.Casts += o.Casts
	for f, n := range o.Fates {
		r.Fates[f] += n
	}
}

// String counts the members of broadcasts by their fates.
func (r *Result) String() string {
	var all []string
	for f, n := range r.Fates {
		if n > 0 {
			all = append(all, fmt.Sprintf("%d %s", n, session.Fate(f)))
		}
	}
	return strings.Join(all, ", ")
}

// TestSameSeedSameHistory shows that a failing seed can be repeated.
func TestSameSeedSameHistory(t *testing.T) {
	for seed := *first; seed < *first+20; seed++ {
		a, b := Run(seed, nil), Run(seed, nil)
		if a.Steps != b.Steps || a.Virtual != b.Virtual || a.Digest != b.Digest {
			t.Errorf("seed %d ran differently: %d and %d steps, digests %x and %x", seed, a.Steps, b.Steps, a.Digest, b.Digest)
		}
	}
}
