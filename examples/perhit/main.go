// Command perhit is the per-hit example: a worker that serves Tcl interpreters, a web
// front that gives every hit one, and a load generator that checks both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

const usage = `perhit runs every hit's Tcl script in an interpreter of its own, on a thread of its own.

  perhit worker [--broker ENDPOINT] [--slots 4] [--time-limit 2s]
  perhit front  [--broker ENDPOINT] [--listen 127.0.0.1:7780]
  perhit fire   [--front http://127.0.0.1:7780] [--hits 300] [--workers PID,PID] [--kill PID]

Each of them lists its flags with --help. The broker is found by --broker or
LIMPET_BROKER, by default at tcp://127.0.0.1:7700.
`

// errUsage marks an error of the command line: exit code 2.
var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "perhit:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "perhit:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return fmt.Errorf("%w: say worker, front or fire", errUsage)
	}
	switch args[0] {
	case "worker":
		return runWorker(ctx, args[1:])
	case "front":
		return runFront(ctx, args[1:])
	case "fire":
		return runFire(ctx, args[1:])
	case "help", "-h", "-help", "--help":
		fmt.Fprint(os.Stdout, usage)
		return nil
	default:
		return fmt.Errorf("%w: no subcommand %q; there are worker, front and fire", errUsage, args[0])
	}
}

// parse reads flags and refuses anything else.
func parse(flags *flag.FlagSet, args []string) error {
	flags.SetOutput(os.Stderr)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%w: unexpected argument %q", errUsage, flags.Arg(0))
	}
	return nil
}
