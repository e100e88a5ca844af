// Command primes serves the pool "primes": it tells primes, counts them, and looks
// for the next one. "limpet http" with routes.toml puts it behind HTTP.
package main

import (
	"context"
	"flag"
	"log"
	"os/signal"
	"syscall"

	"github.com/limpet-rpc/limpet/worker"
)

func main() {
	workers := flag.Int("workers", 8, "how many numbers are looked at at once")
	apart := flag.Bool("processes", false, "every worker is a process of its own")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := serve(ctx, *workers, *apart)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, workers int, apart bool) error {
	o := worker.Options{}
	if apart {
		o.SlotsPerProcess = 1
	}
	return worker.Serve(ctx, o, newPool(workers))
}
