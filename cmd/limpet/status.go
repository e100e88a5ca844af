package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/limpet-rpc/limpet/broker/admin"
	"github.com/limpet-rpc/limpet/session"
)

// Bounds of one look at a broker.
const (
	statusTime  = 5 * time.Second
	statusBytes = 64 << 20
)

// statusCommand is limpet status.
type statusCommand struct {
	admin string
	json  bool
	all   bool
	watch time.Duration
}

func newStatus() *cobra.Command {
	var c statusCommand
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show a broker's pools, nodes, sessions, queue and broadcasts",
		Long: `Asks a broker's admin page and shows what it says. What is wrong comes first,
in lines that begin with ALERT. With --json it is the page itself, whose field
names do not change.`,
		Example: `  limpet status
  limpet status --watch 2s
  limpet status --json | jq '.nodes[] | select(.state != "alive")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&c.admin, "admin", admin.DefaultAddress, "`address` of the broker's admin pages, host:port")
	flags.BoolVar(&c.json, "json", false, "as JSON")
	flags.BoolVar(&c.all, "all", false, "all sessions, queue places and broadcasts, not just the first ones")
	spanFlag(flags, &c.watch, "watch", 0, 0, "again and again, this far apart; 0: once")
	return cmd
}

func (c *statusCommand) run(ctx context.Context, out io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	again := time.NewTicker(max(c.watch, time.Millisecond))
	defer again.Stop()
	for {
		err := c.once(ctx, out)
		if ctx.Err() != nil {
			return nil // the user has seen enough: what that broke off is no error
		}
		if err != nil || c.watch == 0 {
			return err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (c *statusCommand) once(ctx context.Context, out io.Writer) error {
	page, err := c.fetch(ctx)
	switch {
	case err != nil:
		return err
	case c.json:
		_, err = out.Write(page)
		return err
	}
	var st admin.Page
	if err := json.Unmarshal(page, &st); err != nil {
		return fmt.Errorf("%s answers, but not as a broker's admin page does: %w", c.admin, err)
	}
	var text bytes.Buffer
	if c.watch > 0 && out == os.Stdout && term.IsTerminal(int(os.Stdout.Fd())) {
		text.WriteString("\x1b[H\x1b[2J") // from the top of an empty screen
	}
	view := view{all: c.all}
	view.write(&text, &st)
	if c.watch > 0 {
		text.WriteByte('\n')
	}
	_, err = out.Write(text.Bytes())
	return err
}

// fetch reads the status page. The error is ErrUnreachable where nobody
// answers.
func (c *statusCommand) fetch(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base()+"/v1/status", http.NoBody)
	if err != nil {
		return nil, usageError{fmt.Errorf("admin address %q: %w", c.admin, err)}
	}
	page, status, err := c.do(r)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("%s answers %d, not as a broker's admin page does", c.admin, status)
	}
	return page, err
}

// base is where the admin pages are, without a slash at the end.
func (c *statusCommand) base() string {
	base := c.admin
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	return strings.TrimSuffix(base, "/")
}

// do asks an admin page. The error is ErrUnreachable where nobody answers, or
// says that the broker cannot.
func (c *statusCommand) do(r *http.Request) (page []byte, status int, err error) {
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, 0, &unreachable{admin: c.admin, cause: err}
	}
	defer answer.Body.Close()
	page, err = io.ReadAll(io.LimitReader(answer.Body, statusBytes))
	switch {
	case err != nil:
		return nil, 0, &unreachable{admin: c.admin, cause: err}
	case answer.StatusCode == http.StatusServiceUnavailable:
		return nil, 0, &unreachable{admin: c.admin, cause: fmt.Errorf("%s", reason(page))}
	}
	return page, answer.StatusCode, nil
}

func reason(page []byte) string {
	var said struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(page, &said) == nil && said.Error != "" {
		return said.Error
	}
	return fmt.Sprintf("%.200s", page)
}

// unreachable is an admin page that does not answer.
type unreachable struct {
	admin string
	cause error
}

func (e *unreachable) Error() string {
	why := e.cause
	for inner := errors.Unwrap(why); inner != nil; inner = errors.Unwrap(why) {
		why = inner // the innermost names the reason, the others the way to it
	}
	return fmt.Sprintf("no admin page answers at %s (%s): is a broker running there? --admin or LIMPET_ADMIN names another address", e.admin, why)
}

// Is makes it the exit code of a broker that cannot be reached.
func (e *unreachable) Is(target error) bool { return target == error(session.ErrUnreachable) }
