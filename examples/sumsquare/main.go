// Command sumsquare serves three pools: "ask" sends numbers to "sum" and "square"
// at once and joins what they say. "limpet http" with routes.toml puts it behind HTTP.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os/signal"
	"strings"
	"syscall"

	"github.com/limpet-rpc/limpet/worker"
)

func main() {
	names := flag.String("pools", "ask,sum,square", "which pools this process serves")
	slots := flag.Int("slots", 8, "how many calls each of them takes at once")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := serve(ctx, *names, *slots)
	stop()
	if err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, names string, slots int) error {
	pools := map[string]*worker.Pool[struct{}]{"ask": askPool(slots), "sum": sumPool(slots), "square": squarePool(slots)}
	var served []worker.Served
	for name := range strings.SplitSeq(names, ",") {
		p := pools[name]
		if p == nil {
			return fmt.Errorf("no pool %q: there are ask, sum and square", name)
		}
		served = append(served, p)
	}
	return worker.Serve(ctx, worker.Options{}, served...)
}
