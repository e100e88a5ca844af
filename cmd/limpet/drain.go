package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/limpet-rpc/limpet/broker/admin"
	"github.com/limpet-rpc/limpet/broker/core"
)

// drainCommand is limpet drain.
type drainCommand struct {
	statusCommand
	deadline time.Duration
	wait     bool
}

// drainLook is how often a drain looks at what it still waits for.
const drainLook = 500 * time.Millisecond

func newDrain() *cobra.Command {
	c := drainCommand{}
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Have a node take nothing new and end when its sessions have",
		Long: `Asks the broker to drain a node, by its name or id as status shows them: it
gets no new sessions, its open ones go on until they end or the deadline has
passed, and then its process ends with exit code 0. Shows what it still waits
for until the node is gone; breaking that off does not undo the drain.`,
		Example: `  limpet drain worker-1 --deadline 5m
  limpet drain 00000000000a1c23 --no-wait`,
		Args: wordArgs(1, 1, "NODE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.drain(cmd.Context(), args[0], cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.admin, "admin", admin.DefaultAddress, "`address` of the broker's admin pages, host:port")
	spanFlag(flags, &c.deadline, "deadline", 0, 0, "when to end the sessions that are still open; 0: never")
	flags.BoolVar(&c.wait, "no-wait", false, "return as soon as the node has been asked")
	return cmd
}

func (c *drainCommand) drain(ctx context.Context, node string, out io.Writer) error {
	id, err := c.ask(ctx, node)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "node %s drains\n", id)
	if c.wait {
		return nil
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	look := time.NewTicker(drainLook)
	defer look.Stop()
	last := -1
	for {
		open, there, err := c.left(ctx, id)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case !there:
			fmt.Fprintf(out, "node %s is gone\n", id)
			return nil
		case open != last:
			fmt.Fprintf(out, "waits for %s\n", many(open, "session"))
			last = open
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// ask posts the drain and returns the node's id.
func (c *drainCommand) ask(ctx context.Context, node string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	path := "/v1/drain?" + url.Values{"node": {node}, "deadline": {c.deadline.String()}}.Encode()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base()+path, http.NoBody)
	if err != nil {
		return "", usageError{fmt.Errorf("admin address %q: %w", c.admin, err)}
	}
	r.Header.Set(admin.DrainHeader, "1")
	page, status, err := c.do(r)
	switch {
	case err != nil:
		return "", err
	case status == http.StatusNotFound:
		return "", refusedError{reason(page) + "; 'limpet status' lists the nodes"}
	case status != http.StatusOK:
		return "", fmt.Errorf("drain: %s", reason(page))
	}
	var d admin.Drained
	if err := json.Unmarshal(page, &d); err != nil {
		return "", fmt.Errorf("%s answers, but not as a broker's admin page does: %w", c.admin, err)
	}
	return d.Node, nil
}

// left returns how many sessions the node still has; there is false once it is
// gone.
func (c *drainCommand) left(ctx context.Context, id string) (open int, there bool, err error) {
	page, err := c.fetch(ctx)
	if err != nil {
		return 0, false, err
	}
	var st core.Status
	if err := json.Unmarshal(page, &st); err != nil {
		return 0, false, fmt.Errorf("%s answers, but not as a broker's admin page does: %w", c.admin, err)
	}
	for _, n := range st.Nodes {
		if n.Node == id {
			return n.Open, true, nil
		}
	}
	return 0, false, nil
}
