// Command candidate serves the pool "counter" without a broker beside it: the
// processes that are given the same cell elect one of themselves, which is the
// broker of all. Start it as often as you like.
package main

import (
	"context"
	"flag"
	"log"
	"os/signal"
	"syscall"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/broker/cell"
	"github.com/limpet-rpc/limpet/worker"
)

func main() {
	dir := flag.String("cell", "/tmp/limpet-counter", "folder of the cell")
	endpoint := flag.String("endpoint", broker.DefaultListen, "where the master listens")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := serve(ctx, *dir, *endpoint)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

// serve is a candidate and a node until ctx ends. The node ends first, so that
// its sessions can be closed by way of the broker, which may be this one.
func serve(ctx context.Context, dir, endpoint string) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	candidate, err := cell.Join(cell.Options{Dir: dir, Broker: broker.Options{Listen: endpoint}})
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() {
		defer fail() // a candidate that cannot go on takes its node along
		ended <- candidate.Run(running)
	}()
	err = worker.Serve(ctx, worker.Options{Broker: endpoint}, counters())
	stop()
	if failed := <-ended; failed != nil {
		return failed
	}
	return err
}

func counters() *worker.Pool[*int] {
	pool := worker.NewPool(worker.Config[*int]{
		Pool:  "counter",
		Slots: 100,
		Open:  func(context.Context, *worker.Session) (*int, error) { return new(int), nil },
	})
	worker.Handle(pool, "add", func(_ context.Context, total *int, n int) (int, error) {
		*total += n
		return *total, nil
	})
	return pool
}
