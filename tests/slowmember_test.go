package tests

import (
	"context"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// A slow member that makes progress is awaited for several times its budget, and
// not abandoned; the quick one beside it has answered by then. With LIMPET_SOAK it
// takes ten seconds and makes progress every half of one.
func TestBroadcastSlowMember(t *testing.T) {
	pause, steps, budget := 50*time.Millisecond, 60, 1200*time.Millisecond
	if soak() {
		pause, steps, budget = 500*time.Millisecond, 20, 2*time.Second
	}
	c := newCell(t, prompt())
	for _, name := range []string{"quick", "slow"} {
		p := worker.NewPool(worker.Config[struct{}]{Pool: "walkers", Slots: 1})
		worker.HandleCast(p, "walk", func(ctx context.Context, _ any) (int, error) {
			if name == "quick" {
				return 0, nil
			}
			for step := range steps {
				time.Sleep(pause)
				if err := worker.Progress(ctx, step); err != nil {
					return step, err
				}
			}
			return steps, nil
		})
		c.serve(t, worker.Options{Name: name}, p)
	}
	began := time.Now()
	cast := client.Broadcast[int](bounded(t), c.dial(t), "walkers", "walk", nil, client.WithMemberBudget(budget))
	var order []string
	for a, err := range cast.Answers() {
		if err != nil || a.Name == "slow" && a.Value != steps {
			t.Errorf("%+v, %v", a, err)
		}
		order = append(order, a.Name)
		t.Logf("%s has answered after %v, the budget is %v", a.Name, time.Since(began).Round(time.Millisecond), budget)
	}
	if sum, err := cast.Wait(); err != nil || sum != (client.Complete{Members: 2, Answered: 2}) || len(order) != 2 || order[1] != "slow" {
		t.Errorf("%v, %+v, %v", order, sum, err)
	}
}
