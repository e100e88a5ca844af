package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/limpet-rpc/limpet/assigner"
	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/broker/admin"
)

// adminOff is the --admin that serves no pages.
const adminOff = "off"

// brokerFlags are the flags of limpet broker.
type brokerFlags struct {
	options broker.Options
	policy  string
	admin   string
	logging logFlags
	cell    cellFlags
}

func newBroker() *cobra.Command {
	var f brokerFlags
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Run a broker",
		Long: `Runs a broker: it assigns sessions to the workers of the nodes that register
with it, and relays calls. It runs until SIGINT or SIGTERM and then exits
with 0. Its log goes to stderr.

Its admin pages are /healthz, /readyz, /metrics (Prometheus) and /v1/status.

With --cell any number of brokers on a machine share a folder and an endpoint:
one of them is master and listens, the others stand by and elect the next one
when it dies or its loop stands still. Only the master serves admin pages.`,
		Example: "  limpet broker --listen tcp://0.0.0.0:7700 --policy pack --log-format json\n  limpet broker --cell /run/limpet/cell",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.ErrOrStderr()) },
	}
	flags, o := cmd.Flags(), &f.options
	flags.StringVar(&o.Listen, "listen", broker.DefaultListen, "`endpoint` for clients and nodes: tcp://host:port or ipc://path; port 0 takes a free one")
	flags.StringVar(&f.admin, "admin", admin.DefaultAddress, "`address` of the admin pages, host:port, or "+adminOff)
	choiceFlag(flags, &f.policy, "policy", policies(), "which node gets a session")
	countFlag(flags, &o.Queue, "queue", 1024, 1, 1_000_000, "how many opens may wait per pool")
	spanFlag(flags, &o.Beat, "beat", time.Second, 10*time.Millisecond, "how often nodes beat that do not say so themselves")
	countFlag(flags, &o.Misses, "misses", 3, 1, 255, "how many beats in a row may be missed before a node is lost")
	spanFlag(flags, &o.Recovery, "recovery", 0, 0, "how long after its start nodes are waited for before a pool is unknown; 0: misses x beat + 1s")
	spanFlag(flags, &o.Lease, "lease", 10*time.Second, 100*time.Millisecond, "how long a waiting client may be silent before it loses its place")
	flags.StringVar(&o.Records, "records", "",
		"`folder` of the start records of this machine's nodes, or "+adminOff+" (default one in the system's temporary folder)")
	flags.StringVar(&o.Name, "name", "", "`name` that status shows (default the host's)")
	f.logging.flags(flags)
	f.cell.flags(flags)
	return cmd
}

// policies are the placement policies' names, the default first.
func policies() []string {
	return assigner.Policies()
}

// run runs the broker and its pages until a signal comes or one of them fails.
// A second signal ends the process at once.
func (f *brokerFlags) run(ctx context.Context, logTo io.Writer) error {
	o := f.options
	o.Logger = f.logging.logger(logTo)
	policy, err := assigner.ParsePolicy(f.policy)
	if err != nil {
		return err
	}
	o.Policy = policy
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	if f.cell.dir != "" {
		return f.cell.run(ctx, o, f.admin)
	}
	b, err := broker.New(o) //nolint:contextcheck // it does not wait for anybody
	if err != nil {
		return err
	}
	if f.admin == adminOff {
		return b.Run(ctx)
	}
	pages, err := listenAdmin(f.admin, b, o.Logger)
	if err != nil {
		return errors.Join(err, b.Close()) //nolint:contextcheck // nor does this
	}
	return together(ctx, b.Run, pages.Run)
}

func listenAdmin(address string, b admin.Broker, log *slog.Logger) (*admin.Server, error) {
	pages, err := admin.Listen(address, admin.NewPages(b), log)
	if err != nil {
		return nil, fmt.Errorf("%w; --admin or LIMPET_ADMIN names another address, '%s' none", err, adminOff)
	}
	log.Info("admin pages listen", "url", "http://"+pages.Address())
	return pages, nil
}

// together runs parts until ctx ends or the first of them does, and waits for
// all.
func together(ctx context.Context, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(parts))
	for _, part := range parts {
		go func() { ended <- part(ctx) }()
	}
	var all error
	for range parts {
		all = errors.Join(all, <-ended)
		cancel()
	}
	return all
}
