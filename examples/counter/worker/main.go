// Command worker serves the pool "counter": a running total for every session.
package main

import (
	"context"
	"log"

	"github.com/limpet-rpc/limpet/worker"
)

func main() {
	counters := worker.NewPool(worker.Config[*int]{
		Pool:  "counter",
		Slots: 100,
		Open:  func(context.Context, *worker.Session) (*int, error) { return new(int), nil },
	})
	worker.Handle(counters, "add", func(_ context.Context, total *int, n int) (int, error) {
		*total += n
		return *total, nil
	})
	log.Fatal(worker.Serve(context.Background(), worker.Options{}, counters))
}
