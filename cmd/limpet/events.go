package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/limpet-rpc/limpet/broker/admin"
	"github.com/limpet-rpc/limpet/broker/feed"
)

// eventBytes bounds one line of the stream.
const eventBytes = 1 << 20

// eventsCommand is limpet events.
type eventsCommand struct {
	statusCommand
	after uint64
}

func newEvents() *cobra.Command {
	var c eventsCommand
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Show what happens at a broker, as it happens",
		Long: `Shows what the broker still keeps of the past, then what happens: nodes that
come, fall silent and go, hung calls, votes and elections, and, from now on,
sessions that open and end. Goes on until it is broken off or the broker ends.
With --json every line is one event, whose field names do not change.`,
		Example: `  limpet events
  limpet events --json | jq 'select(.what == "node lost")'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&c.admin, "admin", admin.DefaultAddress, "`address` of the broker's admin pages, host:port")
	flags.BoolVar(&c.json, "json", false, "as JSON, one event a line")
	flags.Uint64Var(&c.after, "after", 0, "`number` of the last event that is known already")
	return cmd
}

func (c *eventsCommand) run(ctx context.Context, out io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base()+"/v1/events?after="+strconv.FormatUint(c.after, 10), http.NoBody)
	if err != nil {
		return usageError{fmt.Errorf("admin address %q: %w", c.admin, err)}
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return &unreachable{admin: c.admin, cause: err}
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		page, _ := io.ReadAll(io.LimitReader(answer.Body, eventBytes))
		return &unreachable{admin: c.admin, cause: errors.New(reason(page))}
	}
	err = c.show(answer.Body, out)
	switch {
	case ctx.Err() != nil:
		return nil // the user has seen enough
	case err == nil:
		err = errors.New("the broker has ended the stream")
	}
	return &unreachable{admin: c.admin, cause: err}
}

// show writes events until the stream ends.
func (c *eventsCommand) show(stream io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, eventBytes)
	for lines.Scan() {
		data, is := strings.CutPrefix(lines.Text(), "data: ")
		if !is {
			continue
		}
		text := data
		if !c.json {
			var err error
			if text, err = eventLine(data); err != nil {
				return err
			}
		}
		if _, err := fmt.Fprintln(out, text); err != nil {
			return err
		}
	}
	return lines.Err()
}

// eventLine is one event as people read it.
func eventLine(data string) (string, error) {
	var e struct {
		feed.Event

		Missed uint64 `json:"missed"`
	}
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		return "", fmt.Errorf("an event that is none: %w", err)
	}
	if e.Missed > 0 {
		return fmt.Sprintf("(%d events are not kept any more)", e.Missed), nil
	}
	parts := []string{e.Time.Local().Format("15:04:05.000"), fmt.Sprintf("%-16s", e.What)} //nolint:gosmopolitan // as the clock on the wall
	for _, part := range []struct{ name, value string }{
		{"", plain(e.Name)}, {"pool", plain(e.Pool)}, {"session", plain(e.Session)}, {"", plain(e.Code)}, {"", plain(e.Text)},
	} {
		switch {
		case part.value == "":
		case part.name == "":
			parts = append(parts, part.value)
		default:
			parts = append(parts, part.name+" "+part.value)
		}
	}
	return strings.Join(parts, "  "), nil
}
