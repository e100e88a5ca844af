package sim

import (
	"flag"
	"os"
	"runtime/debug"
	"testing"
)

var cellSeeds = flag.Int("cell-seeds", 1000, "how many seeds TestCellSeeds runs")

// TestCellSeeds has two masters of one cell replace each other, stopped or not,
// among all other faults: no node does what a former one says, a former one
// finds out and stands by, and whatever holds of one broker holds of both.
func TestCellSeeds(t *testing.T) {
	if *history {
		w := newCellWorld(*first, os.Stdout)
		if w.runSafely(); w.failure != nil {
			t.Error(w.failure)
		}
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	failed, refused, masters := 0, 0, uint64(0)
	begin := func(seed uint64) *World { return newCellWorld(seed, nil) }
	runAll(*first, *cellSeeds, begin, func(seed uint64, w *World) (more bool) {
		if w.failure != nil {
			failed++
			t.Errorf("seed %d: %v\n  %s\n  again: go test ./internal/sim -run TestCellSeeds -first %d -history", seed, w.failure, w.plan.String(), seed)
		}
		refused += w.cell.refused
		masters += w.cell.epoch
		return failed < failuresMost
	})
	t.Logf("%d seeds: %d masters, told %d times that they were outdated", *cellSeeds, masters, refused)
	if refused == 0 && *cellSeeds >= 100 {
		t.Error("no former master was ever refused: the schedules show nothing")
	}
}
