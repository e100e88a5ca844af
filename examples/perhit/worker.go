package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"time"

	"github.com/limpet-rpc/limpet/worker"

	"github.com/limpet-rpc/limpet/examples/perhit/pool"
)

// runWorker serves the pool until ctx ends.
func runWorker(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("perhit worker", flag.ContinueOnError)
	broker := flags.String("broker", "", "endpoints of the brokers, separated by commas")
	name := flags.String("name", "", "what limpet status calls this process")
	slots := flags.Int("slots", 4, "sessions at once, each on an OS thread of its own")
	limit := flags.Duration("time-limit", 2*time.Second, "the longest that one call may take")
	commands := flags.Int64("command-limit", math.MaxInt32, "Tcl commands that one session may run in all")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *slots < 1 || *limit <= 0 || *commands < 1 || *commands > math.MaxInt32 {
		return fmt.Errorf("%w: --slots, --time-limit and --command-limit must be above zero, the last at most %d", errUsage, math.MaxInt32)
	}
	served := pool.New(pool.Options{Slots: *slots, Time: *limit, Commands: int32(*commands)})
	if err := worker.Serve(ctx, worker.Options{Broker: *broker, Name: *name}, served); ctx.Err() == nil {
		return err
	}
	return nil // it was told to end
}
