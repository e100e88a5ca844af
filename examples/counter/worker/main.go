// Command worker serves the pool "counter": a running total for every session.
package main

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	"github.com/limpet-rpc/limpet/worker"
)

func main() {
	ctx, _ := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	counters := worker.NewPool(worker.Config[*int]{
		Pool:  "counter",
		Slots: 100,
		Open:  func(context.Context, *worker.Session) (*int, error) { return new(int), nil },
	})
	worker.Handle(counters, "add", func(_ context.Context, total *int, n int) (int, error) {
		*total += n
		return *total, nil
	})
	if err := worker.Serve(ctx, worker.Options{}, counters); err != nil {
		log.Fatal(err)
	}
}
