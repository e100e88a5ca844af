package main

import (
	"context"
	"fmt"
	"io"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
	"github.com/limpet-rpc/limpet/worker/program"
)

// execFlags are the flags of limpet exec.
type execFlags struct {
	node    worker.Options
	pool    program.Config
	logging logFlags
}

func newExec() *cobra.Command {
	var f execFlags
	cmd := &cobra.Command{
		Use:   "exec --pool POOL [flags] -- CMD [ARG...]",
		Short: "Serve a pool with any program, a child process for every session",
		Long: `Runs a node that starts CMD anew for every session. Each call of a session
becomes a JSON-RPC 2.0 request, one line on the child's stdin, and the child
answers with one line on its stdout:

  {"jsonrpc":"2.0","id":1,"method":"add","params":[40]}
  {"jsonrpc":"2.0","id":1,"result":40}

params are the call's argument: a list or object as it is, any other value as
a list of that one; bytes are {"bytes": base64}. An "error" object is the
method's own error. A notification {"method":"progress","params":...} is
progress of the call that runs. "$/next", sent before the answer, has the call
go on elsewhere, and what is answered then is dropped:

  {"jsonrpc":"2.0","method":"$/next","params":{"pool":"square","method":"run","arg":[1,2]}}

or to several at once, with {"branches":[{"name":"left","pool":...},...]}, whose
results by name go to "join":{"pool":...,"method":...} or to the caller.
A call that is cancelled, or whose time is over, is the notification
"$/cancelRequest" with its id; not answered within --grace, the child is killed;
so is that of a call which is silent for --budget.

A child that is ready says so with any notification; one that says nothing is
given --settle. What it writes to stderr goes to the log, with the session's
id, which it finds in LIMPET_SESSION. One that ends, or writes to stdout what is
no message, ends its session as "worker died", with its exit status and its
last lines on stderr. Closing a session closes the child's stdin, then come
SIGTERM and SIGKILL, to its whole process group, each after --grace.

It runs until SIGINT, SIGTERM or a drain, and then exits with 0.`,
		Example: `  limpet exec --pool python --slots 100 -- python3 examples/exec/interpreter.py
  limpet call python eval '"6 * 7"'`,
		DisableFlagsInUseLine: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("CMD is missing: limpet exec --pool POOL -- CMD [ARG...]")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			f.sized(cmd.Flags().Changed("slots"))
			return f.run(cmd.Context(), args, cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false) // what follows CMD is CMD's
	flags.StringVar(&f.pool.Pool, "pool", "", "the pool's `name`")
	countFlag(flags, &f.pool.Slots, "slots", runtime.NumCPU(), 1, 100_000, "sessions, and so children, at once")
	countFlag(flags, &f.pool.MaxSlots, "max-slots", 0, 0, 100_000,
		"grow to so many, as opens wait, and shrink again; 0: neither. It begins with --slots, if given, or --min-slots")
	countFlag(flags, &f.pool.MinSlots, "min-slots", 1, 1, 100_000, "with --max-slots: shrink to so many")
	flags.StringVar(&f.pool.Policy, "policy", "",
		"which node gets a session, `name` of a placement policy; all nodes of a pool should say the same (default the broker's)")
	flags.StringVar(&f.node.Broker, "broker", worker.DefaultBroker, "the brokers' `endpoints`, separated by commas")
	flags.StringVar(&f.node.Name, "name", "", "`name` that status shows (default host-process)")
	flags.StringToStringVar(&f.node.Labels, "label", nil, "a label that opens may ask for, `key=value`; may be given several times")
	flags.Lookup("label").DefValue = "" // pflag would show []
	flags.StringVar(&f.pool.Dir, "dir", "", "`folder` in which CMD runs (default this one)")
	flags.StringArrayVar(&f.pool.Env, "env", nil, "`key=value` added to CMD's environment; may be given several times")
	countFlag(flags, &f.pool.MaxLine, "max-line", program.DefaultMaxLine, 1<<10, 1<<30, "bytes of one message, either way")
	spanFlag(flags, &f.pool.Settle, "settle", program.DefaultSettle, time.Millisecond, "how long a new child that says nothing is watched before it is taken")
	spanFlag(flags, &f.pool.Grace, "grace", program.DefaultGrace, time.Millisecond, "how long a child may take to heed a cancellation, its stdin's end, SIGTERM")
	spanFlag(flags, &f.pool.Budget, "budget", worker.DefaultBudget, 0, "how long a call may run without a notification before it counts as hung; 0: for ever")
	flags.StringVar(&f.pool.CloseMethod, "close-method", "", "notify the child by this `method` before its stdin is closed, such as exit")
	flags.BoolVar(&f.pool.Traceparent, "traceparent", false, "tell the child the trace of a call that has one, as the request's member traceparent")
	f.clocks(flags)
	f.logging.flags(flags)
	return cmd
}

// clocks are the three that end a session.
func (f *execFlags) clocks(flags *pflag.FlagSet) {
	spanFlag(flags, &f.pool.Lease, "lease", session.DefaultLease, time.Millisecond, "a session ends when its client is not heard for so long")
	spanFlag(flags, &f.pool.Idle, "idle", 0, 0, "a session ends when it has had no call for so long; 0: never")
	spanFlag(flags, &f.pool.MaxAge, "max-age", 0, 0, "a session ends so long after its open; 0: never")
}

// sized has a pool of fixed size have no bounds, and one that grows begin with
// its least.
func (f *execFlags) sized(given bool) {
	switch {
	case f.pool.MaxSlots == 0:
		f.pool.MinSlots = 0
	case !given:
		f.pool.Slots = 0
	}
}

// run serves until a signal comes. A second one ends the process at once, and
// the children with it.
func (f *execFlags) run(ctx context.Context, command []string, logTo io.Writer) error {
	f.node.Logger = f.logging.logger(logTo)
	f.pool.Command, f.pool.Logger = command, f.node.Logger
	if f.pool.Pool == "" {
		return usageError{fmt.Errorf("--pool is missing: the name of the pool to serve")}
	}
	if f.pool.Budget == 0 {
		f.pool.Budget = -1
	}
	pool, err := program.NewPool(f.pool)
	if err != nil {
		return usageError{err}
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	f.node.Logger.Info("serving", "pool", f.pool.Pool, "slots", f.pool.Slots, "program", command)
	return worker.Serve(ctx, f.node, pool)
}
