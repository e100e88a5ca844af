package sim

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

var (
	seeds   = flag.Int("seeds", 2000, "how many seeds TestSeeds runs")
	first   = flag.Uint64("first", 1, "the first of them")
	history = flag.Bool("history", false, "write the whole history of every seed to standard output")
)

func TestSeeds(t *testing.T) {
	began := time.Now()
	var total Result
	failed := 0
	for i := range *seeds {
		seed := *first + uint64(i)
		var r Result
		if *history {
			r = Run(seed, os.Stdout)
		} else {
			r = Run(seed, nil)
		}
		if r.Failure != nil {
			t.Errorf("seed %d: %v\n  %s\n  again: go test ./internal/sim -run TestSeeds -seeds 1 -first %d -history", seed, r.Failure, r.Plan, seed)
			if failed++; failed == 5 {
				t.Fatal("five seeds have failed")
			}
		}
		total.Steps += r.Steps
		total.Done += r.Done
		total.NotRun += r.NotRun
		total.Unknown += r.Unknown
		total.Opened += r.Opened
		total.Refused += r.Refused
		total.Virtual += r.Virtual
	}
	d := time.Since(began)
	t.Log(fmt.Sprintf("%d seeds in %s (%.0f/s), %s of virtual time, %d steps; calls: %d done, %d not run, %d unknown; opens: %d opened, %d refused",
		*seeds, d.Round(time.Millisecond), float64(*seeds)/d.Seconds(), total.Virtual.Round(time.Second), total.Steps,
		total.Done, total.NotRun, total.Unknown, total.Opened, total.Refused))
}
