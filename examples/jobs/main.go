// Command jobs is a job server: a pool of workers that run functions on texts, with
// a cache and hooks, and a client that gives them work.
//
//	jobs worker NAME [host]   a worker; one of them hosts the hooks and the cache
//	jobs run                  the client
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := jobs(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func jobs(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "run":
		return run(ctx, os.Stdout)
	case len(args) == 2 && args[0] == "worker":
		return work(ctx, args[1], false)
	case len(args) == 3 && args[0] == "worker" && args[2] == "host":
		return work(ctx, args[1], true)
	default:
		return fmt.Errorf("usage: jobs worker NAME [host], jobs run")
	}
}
