// Command limpet-bench measures Limpet beside what its users would otherwise pick.
//
// A figure counts only as a ratio to a peer that was measured in the same
// interleaved run, so every comparison runs its peers in turn, repeats that, and
// forms the ratio inside each repetition before it takes a median. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Exit codes of the command.
const (
	exitOK     = 0
	exitFailed = 1 // a process died, a reply was wrong, nothing answered
	exitUsage  = 2
	exitMissed = 3 // measured, and worse than the stated bound (with --check only)
)

// errMissed says that a figure was measured and lies beyond its bound.
var errMissed = errors.New("bound missed")

// command is one subcommand: it measures, prints to out and returns an error
// that wraps errMissed when a bound was missed.
type command struct {
	name, help string
	run        func(ctx context.Context, args []string, out io.Writer) error
}

func commands() []command {
	return []command{
		{"first", "calls/s, p50, p99, CPU: Limpet relayed beside a plain poller broker", runFirst},
		{"peers", "all of Limpet beside NATS, gRPC, net/rpc, raw TCP and C over libzmq, and the floors it is held to", runPeers},
		{"where", "what the CPU of a call goes to, by process and part: Limpet beside its own transport and plain Go", runWhere},
		{"memory", "resident memory of an open idle session on the node and on the broker", runMemory},
		{"many", "100,000 open sessions on one node: memory, opens and calls beside few sessions", runMany},
		{"handover", "time from a slot's release to the waiting client's Open", runHandover},
		{"opens", "sessions of one call, in three trips and in one, beside plain calls", runOpens},
		{"large", "one reply of 1 GiB, direct and relayed, beside io.Copy over TCP and a gRPC stream: rate, memory, small calls", runLarge},
		{"failover", "time from the death, or the stop, of a cell's master to the next reply", runFailover},
		{"lost", "time from kill -9 of a node to the typed error of its calls", runLost},
		{"hang", "time from the end of a hung call's budget to its caller's error, with the stack", runHang},
		{"cast", "a broadcast to 1,000 idle members, and to 100 beside 100 calls one after another", runCast},
		{"primes", "the HTTP front and 8 worker processes beside net/http alone; 504s past their deadline; short jobs beside long ones", runPrimes},
		{"primes-every", "every odd number of two ranges, a request a number, by 1 worker process and by 8: as many primes as there are", runPrimesEvery},
		{"primes-soak", "resident memory of broker, worker and HTTP front over 600,000 requests", runPrimesSoak},
		{"processes", "worker processes that hang or die: until the client is told, and the slot is replaced", runProcesses},
	}
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == roleWord {
		os.Exit(roleMain(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := benchMain(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func benchMain(ctx context.Context, args []string, out, errs io.Writer) int {
	if len(args) == 0 {
		usage(errs)
		return exitUsage
	}
	for _, c := range commands() {
		if c.name == args[0] {
			return exitCode(c.name, c.run(ctx, args[1:], out), errs)
		}
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		usage(out)
		return exitOK
	}
	fmt.Fprintf(errs, "limpet-bench: no subcommand %q; limpet-bench help lists them\n", args[0])
	return exitUsage
}

func exitCode(name string, err error, errs io.Writer) int {
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	fmt.Fprintf(errs, "limpet-bench %s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", "; "))
	var wrong usageError
	switch {
	case errors.As(err, &wrong):
		return exitUsage
	case errors.Is(err, errMissed):
		return exitMissed
	}
	return exitFailed
}

func usage(w io.Writer) {
	fmt.Fprint(w, "limpet-bench measures Limpet; every role runs in a process of its own on this machine\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  limpet-bench %-12s %s\n", c.name, c.help)
	}
	fmt.Fprint(w, "\nexample: limpet-bench first --json first.json --check\nflags:   limpet-bench SUBCOMMAND -h\n")
}
