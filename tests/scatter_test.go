package tests

import (
	"context"
	"os"
	"slices"
	"testing"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// soak asks for the long form of a test, as make soak does.
func soak() bool { return os.Getenv("LIMPET_SOAK") != "" }

// crumbs are hooks that make as many parts of an item as it says, and count what
// they gather.
func crumbs() *worker.Hooks[*int] {
	h := worker.NewHooks(worker.Config[*int]{
		Pool: "jobs",
		Open: func(context.Context, *worker.Session) (*int, error) { return new(int), nil },
	})
	worker.OnScatter(h, func(_ context.Context, _ *int, parts int, emit func(int) error) error {
		for i := range parts {
			if err := emit(i); err != nil {
				return err
			}
		}
		return nil
	})
	worker.OnGather(h, func(_ context.Context, seen *int, r worker.Result[int], emit func(int) error) error {
		*seen++
		return emit(r.Value)
	})
	worker.OnEnd(h, func(_ context.Context, seen *int, emit func(int) error) error { return emit(*seen) })
	return h
}

// A scatter that makes a million parts of an item, all of which are read: each
// has its result once, and has gone through gather once. Without LIMPET_SOAK they
// are fewer.
func TestScatterAMillion(t *testing.T) {
	parts := 6_000 // a few seconds with the race detector
	if soak() {
		parts = 1_000_000
	}
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, jobber("w", "jobs", 64), crumbs())
	var tally client.JobTally
	seen, gathered := make([]bool, parts), -1
	job := client.Job[int](t.Context(), c.dial(t), "jobs", "double", slices.Values([]int{parts}), client.JobHooks(), client.JobCount(&tally))
	for item := range job {
		switch {
		case item.Err != nil:
			t.Fatalf("%+v", item)
		case item.Index == -1:
			gathered = item.Result
		case item.Result != 2*item.Part || seen[item.Part]:
			t.Fatalf("part %d has the result %d, a second one: %v", item.Part, item.Result, seen[item.Part])
		default:
			seen[item.Part] = true
		}
	}
	got := tally.Counts()
	if slices.Contains(seen, false) || gathered != parts || got.Taken != 1 || got.Made != parts || got.Done != parts {
		t.Errorf("%d parts of one item: %d were gathered, counted %+v", parts, gathered, got)
	}
	t.Logf("%d parts of one item, each with its result: %.1f s, %.0f parts/s", parts, got.Elapsed.Seconds(), got.Rate)
}
