package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/client/front"
)

// httpFlags are the flags of limpet http.
type httpFlags struct {
	broker  string
	routes  string
	listen  string
	grace   time.Duration
	check   bool
	logging logFlags
}

func newHTTP() *cobra.Command {
	var f httpFlags
	cmd := &cobra.Command{
		Use:   "http --routes FILE",
		Short: "Serve HTTP by pools",
		Long: `Serves HTTP: each route of a file leads to a method of a pool, as one call
or in a session that is kept for a user by a cookie or header. It runs until
SIGINT or SIGTERM, lets requests under way end, and exits with 0.

The file is TOML:

  [[route]]
  path     = "GET /add/{n}"     # a pattern of Go's http.ServeMux
  pool     = "counter"
  method   = "add"
  argument = "params"           # or "param NAME", json, raw, all, none
  need     = { n = "[0-9]+" }   # 400 without it
  deadline = "2s"               # 504 past it

  [[route]]
  path     = "POST /total"
  session  = "user"             # below; the same worker for all of a user's requests
  method   = "add"

  [session.user]
  pool     = "counter"
  cookie   = "total"
  idle     = "10m"

Further keys of a route: size, wait, priority, labels, hops, keep, ahead,
idempotent, type, events, fallback, fallback_status, end; of a session: header,
secure, most, lost, labels. 'go doc github.com/limpet-rpc/limpet/client/front'
tells them all, and which status stands for what.`,
		Example: "  limpet http --routes routes.toml --listen 127.0.0.1:8080\n  limpet http --routes routes.toml --check",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return f.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.broker, "broker", client.DefaultBroker, "the broker's `endpoint`, or several, separated by commas: the first that answers")
	flags.StringVar(&f.routes, "routes", "", "the `file` of routes")
	flags.StringVar(&f.listen, "listen", front.DefaultAddress, "`address` to serve at, host:port; port 0 takes a free one")
	spanFlag(flags, &f.grace, "grace", 10*time.Second, 0, "how long requests under way may go on at the end")
	flags.BoolVar(&f.check, "check", false, "only read the file, and say what is wrong with it")
	f.logging.flags(flags)
	return cmd
}

func (f *httpFlags) run(ctx context.Context, out, logTo io.Writer) error {
	if f.routes == "" {
		return usageError{errors.New("--routes is missing: the file of routes")}
	}
	routes, err := front.ReadRoutes(f.routes)
	if err != nil {
		return usageError{err}
	}
	if f.check {
		fmt.Fprintf(out, "%s: %s, no mistakes\n", plain(f.routes), many(len(routes.Routes), "route"))
		return nil
	}
	log := f.logging.logger(logTo)
	ctx, stop := untilInterrupt(ctx)
	defer stop()
	c, err := client.Dial(ctx, f.broker, client.WithName("limpet http"), client.WithLogger(log))
	if err != nil {
		return err
	}
	handler, err := front.New(c, routes, log)
	if err != nil {
		return errors.Join(err, c.Close())
	}
	server, err := front.Listen(f.listen, handler, f.grace)
	if err != nil {
		return errors.Join(err, c.Close())
	}
	log.Info("http serves", "url", "http://"+server.Address(), "routes", len(routes.Routes))
	return errors.Join(server.Run(ctx), c.Close())
}
