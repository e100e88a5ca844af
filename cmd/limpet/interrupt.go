package main

import (
	"context"
	"os/signal"
	"syscall"
)

// untilInterrupt returns a context that SIGINT and SIGTERM end, or stop. A second
// signal ends the program at once.
func untilInterrupt(ctx context.Context) (interrupted context.Context, stop func()) {
	interrupted, stop = signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(interrupted, stop)
	return interrupted, stop
}
