// Command isolation serves the pool "counter" from worker processes, one session
// in each unless told otherwise, and lets its clients break them:
//
//	bin/limpet broker &
//	go run ./examples/isolation &
//	bin/limpet session counter      # then: add 40, pid, stop, exit
//
// stop stops the whole process, as a deadlock of all its threads does; exit
// ends it. The session is told what happened, the next one gets a fresh process,
// and the sessions of other processes count on.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/limpet-rpc/limpet/worker"
)

func main() {
	slots := flag.Int("slots", 4, "sessions at once")
	each := flag.Int("slots-per-process", 1, "of them, in one worker process")
	flag.Parse()

	counters := worker.NewPool(worker.Config[*int]{
		Pool:  "counter",
		Slots: *slots,
		Open:  func(context.Context, *worker.Session) (*int, error) { return new(int), nil },
	})
	worker.Handle(counters, "add", func(_ context.Context, total *int, n int) (int, error) {
		*total += n
		return *total, nil
	})
	worker.Handle(counters, "pid", func(context.Context, *int, any) (int, error) { return os.Getpid(), nil })
	worker.Handle(counters, "stop", func(ctx context.Context, _ *int, _ any) (bool, error) {
		if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
			return false, err
		}
		<-ctx.Done() // this thread may be the last to stop
		return true, ctx.Err()
	})
	worker.Handle(counters, "exit", func(context.Context, *int, any) (bool, error) {
		os.Exit(3)
		return true, nil
	})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := worker.Serve(ctx, worker.Options{SlotsPerProcess: *each}, counters)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}
