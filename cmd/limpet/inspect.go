package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/limpet-rpc/limpet/broker/admin"
	"github.com/limpet-rpc/limpet/broker/core"
)

// inspectCommand is limpet inspect.
type inspectCommand struct{ statusCommand }

func newInspect() *cobra.Command {
	c := inspectCommand{}
	cmd := &cobra.Command{
		Use:   "inspect SESSION|NODE",
		Short: "Show what is known of one session or node, and where its calls hung",
		Long: `Asks the broker about a session, by its id, or a node, by its name or id, as
status shows them. Of every call that hung there of late it shows where: which
method, for how long, on which worker and thread, the stack of its goroutine,
and inside C the native stack as far as the machine allowed. A broker keeps the
last 64; the node's log has them too. Of a node that is lost it shows why, and
the dump of its process where a supervisor made one; a broker keeps the last 16.`,
		Example: `  limpet inspect worker-1
  limpet inspect 0c9d1b0e-7f2a-4f6e-9d52-1f0b7e6f4a11 --json`,
		Args: wordArgs(1, 1, "SESSION or NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.inspect(cmd.Context(), args[0], cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.admin, "admin", admin.DefaultAddress, "`address` of the broker's admin pages, host:port")
	flags.BoolVar(&c.json, "json", false, "as JSON")
	return cmd
}

func (c *inspectCommand) inspect(ctx context.Context, what string, out io.Writer) error {
	which := url.Values{"node": {what}}
	if _, err := uuid.Parse(what); err == nil {
		which = url.Values{"session": {what}}
	}
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base()+"/v1/inspect?"+which.Encode(), http.NoBody)
	if err != nil {
		return usageError{fmt.Errorf("admin address %q: %w", c.admin, err)}
	}
	page, status, err := c.do(r)
	switch {
	case err != nil:
		return err
	case status == http.StatusNotFound:
		return refusedError{what + ": " + reason(page)}
	case status != http.StatusOK:
		return fmt.Errorf("inspect: %s", reason(page))
	case c.json:
		_, err = out.Write(page)
		return err
	}
	var in core.Inspection
	if err := json.Unmarshal(page, &in); err != nil {
		return fmt.Errorf("%s answers, but not as a broker's admin page does: %w", c.admin, err)
	}
	writeInspection(out, &in)
	return nil
}

// writeInspection is an inspection for people.
func writeInspection(w io.Writer, in *core.Inspection) {
	if s := in.Session; s != nil {
		state := "open"
		if s.Quarantined {
			state = "over, its slot quarantined"
		}
		fmt.Fprintf(w, "session   %s, %s\n", s.Session, state)
		fmt.Fprintf(w, "pool      %s, worker %d of node %s, session %d there\n", plain(s.Pool), s.Worker, plain(s.NodeName), s.Incarnation)
		fmt.Fprintf(w, "client    %s, for %s\n", plain(s.Client), span(s.Age))
	}
	if n := in.Node; n != nil {
		fmt.Fprintf(w, "node      %s (%s), %s\n", plain(n.Name), n.Node, n.State)
		fmt.Fprintf(w, "process   %d on %s, up %s\n", n.PID, plain(n.Host), span(n.Up))
		fmt.Fprintf(w, "slots     %d: %d open, %d quarantined, %d offered\n", n.Slots, n.Open, n.Quarantined, n.Offered)
	}
	if in.Death != nil {
		writeDeath(w, in.Death)
	}
	for i := range in.Autopsies {
		writeAutopsy(w, &in.Autopsies[i])
	}
	if len(in.Autopsies) == 0 {
		fmt.Fprintln(w, "hung      no call that this broker knows of")
	}
}

func writeDeath(w io.Writer, d *core.DeathStatus) {
	fmt.Fprintf(w, "LOST      %s ago, with %s: %s\n", span(d.Ago), many(d.Sessions, "session"), plain(d.Why))
	fmt.Fprintf(w, "node      %s (%s)\n", plain(d.Name), d.Node)
	fmt.Fprintf(w, "process   %d on %s\n", d.PID, plain(d.Host))
	writeStack(w, "dump", d.Dump)
}

func writeAutopsy(w io.Writer, a *core.AutopsyStatus) {
	now := "its handler has returned since"
	if a.Quarantined {
		now = "its handler has not returned"
	}
	thread := "not locked to one"
	if a.Thread != 0 {
		thread = fmt.Sprint(a.Thread)
	}
	fmt.Fprintf(w, "\nHUNG      %s ago: call %d, method %s; %s\n", span(a.Ago), a.Call, plain(a.Method), now)
	fmt.Fprintf(w, "for       %s without progress, its budget was %s\n", span(a.Silent), span(a.Budget))
	fmt.Fprintf(w, "session   %s\n", a.Session)
	fmt.Fprintf(w, "pool      %s, worker %d of node %s (%s), session %d there\n", plain(a.Pool), a.Worker, plain(a.NodeName), a.Node, a.Incarnation)
	fmt.Fprintf(w, "process   %d on %s, thread %s\n", a.PID, plain(a.Host), thread)
	if a.Trace != "" {
		fmt.Fprintf(w, "trace     %s\n", plain(a.Trace))
	}
	fmt.Fprintf(w, "done      %s\n", plain(a.Done))
	writeStack(w, "Go stack", a.Stack)
	writeStack(w, "in C", a.Native)
}

func writeStack(w io.Writer, title, stack string) {
	if stack == "" {
		return
	}
	fmt.Fprintf(w, "%s:\n", title)
	for line := range strings.Lines(stack) {
		line = strings.TrimRight(line, "\n")
		text := strings.TrimLeft(line, "\t ")
		fmt.Fprintf(w, "  %s%s\n", strings.Repeat("  ", min(len(line)-len(text), 1)), plain(text))
	}
}
