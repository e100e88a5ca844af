package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/limpet-rpc/limpet/examples/perhit/fire"
)

// runFire fires hits at a front and fails where an answer is not right.
func runFire(ctx context.Context, args []string) error {
	o := fire.Options{Out: os.Stdout}
	flags := flag.NewFlagSet("perhit fire", flag.ContinueOnError)
	flags.StringVar(&o.Front, "front", "http://127.0.0.1:7780", "where the front answers hits")
	flags.IntVar(&o.Hits, "hits", 300, "how many hits; 0 only waits until front and workers are ready")
	flags.IntVar(&o.Concurrency, "concurrency", 16, "how many hits at once")
	workers := flags.String("workers", "", "process ids of the workers, separated by commas: each must answer before the firing starts")
	flags.IntVar(&o.Kill, "kill", 0, "process id, one of --workers, that is killed halfway (SIGKILL)")
	flags.DurationVar(&o.Ready, "ready", 20*time.Second, "the longest to wait for front and workers")
	if err := parse(flags, args); err != nil {
		return err
	}
	if o.Hits < 0 || o.Concurrency < 1 || o.Kill < 0 {
		return fmt.Errorf("%w: --hits and --kill must not be negative, --concurrency must be above zero", errUsage)
	}
	for field := range strings.FieldsFuncSeq(*workers, func(r rune) bool { return r == ',' }) {
		pid, err := strconv.Atoi(field)
		if err != nil || pid < 2 {
			return fmt.Errorf("%w: --workers: %q is not a process id", errUsage, field)
		}
		o.Workers = append(o.Workers, pid)
	}
	return fire.Run(ctx, o)
}
