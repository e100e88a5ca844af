package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/session"
)

// broadcastCommand is limpet broadcast.
type broadcastCommand struct {
	callCommand

	sessions bool
	busy     time.Duration
}

func newBroadcast() *cobra.Command {
	var c broadcastCommand
	cmd := &cobra.Command{
		Use:   "broadcast POOL METHOD [JSON]",
		Short: "Ask every node of a pool, or every open session, and show what became of each",
		Long: `Asks every member of a pool and writes one line for each as it is settled: its
node, or node and session, what became of it, and its answer as JSON or why there
is none. Every member of the moment in which the broker takes the question ends
as exactly one of answered, failed, died, hung, left, deadline or busy; the last
line counts them. On a terminal a line below shows how many are still at it.

Nodes run a broadcast method (worker.HandleCast) beside their sessions. With
--sessions a session's own method runs in every open session, between its calls.

The exit code is 0 only where all have answered: 4 where there was nobody to ask,
5 where some failed, 6 where some died, hung or left, 7 where some were too late
or busy; the lowest of these.`,
		Example: `  limpet broadcast counter stats
  limpet broadcast counter reload '{"file": "a"}' --timeout 5s
  limpet broadcast counter reset --sessions --busy 100ms`,
		Args: wordArgs(2, 3, "POOL", "METHOD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd.Context(), args, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&c.broker, "broker", client.DefaultBroker, "the broker's `endpoint`, or several, separated by commas: the first that answers")
	spanFlag(flags, &c.timeout, "timeout", 0, 0, "when to settle those that have not answered; 0: as long as it takes")
	flags.BoolVar(&c.bytes, "bytes", false, "send the argument as bytes, as it is, instead of reading it as JSON")
	flags.BoolVar(&c.sessions, "sessions", false, "ask every open session of the pool, not every node")
	busyFlag(flags, &c.busy)
	return cmd
}

// busyFlag is how long a busy session is waited for.
func busyFlag(flags *pflag.FlagSet, to *time.Duration) {
	flags.Var(&checked[time.Duration]{to, "duration", func(s string) (time.Duration, error) {
		switch s {
		case "wait":
			return 0, nil
		case "skip":
			return -1, nil
		}
		d, err := time.ParseDuration(s)
		if err != nil || d <= 0 {
			return 0, errors.New("want wait, skip, or a duration such as 100ms")
		}
		return d, nil
	}, func(d time.Duration) string {
		if d == 0 {
			return "wait"
		} else if d < 0 {
			return "skip"
		}
		return d.String()
	}}, "busy", "what of a session that is at a call: wait for it, skip it, or wait for so long")
}

func (c *broadcastCommand) run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	arg, err := c.argument(args[2:], in)
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupt(ctx)
	defer stop()
	conn, err := c.dial(ctx, "limpet broadcast")
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	var opts []client.CastOption
	if c.sessions {
		opts = append(opts, client.InSessions(), client.WithBusyWait(c.busy))
	}
	cast := client.Broadcast[codec.Body](ctx, conn, args[0], args[1], arg, opts...)
	t := roll{out: out, began: time.Now()}
	if out == os.Stdout && term.IsTerminal(int(os.Stdout.Fd())) {
		t.live = func() int { n, _ := cast.Members(); return n }
	}
	for a, err := range cast.Answers() {
		t.row(&a, c.word(&a, err))
	}
	sum, err := cast.Wait()
	if err != nil {
		return err
	}
	t.end(sum)
	return verdict(args[0], sum)
}

// word is what a member has to say: its answer, or why there is none.
func (c *broadcastCommand) word(a *client.Answer[codec.Body], err error) string {
	if err != nil {
		return plain(oneLine(err.Error()))
	}
	text, err := c.shown(a.Value)
	if err != nil {
		return "its answer cannot be shown: " + plain(oneLine(err.Error()))
	}
	return strings.TrimSuffix(string(text), "\n")
}

// roll shows members as they are settled.
type roll struct {
	out   io.Writer
	began time.Time
	live  func() int // how many members there are, on a terminal; else nil
	rows  int
}

func (t *roll) row(a *client.Answer[codec.Body], word string) {
	t.rows++
	name := plain(a.Name)
	if name == "" {
		name = a.Node.String()
	}
	if a.Session != (session.ID{}) {
		name += "  " + a.Session.String()
	}
	t.clear()
	fmt.Fprintf(t.out, "%8.3fs  %-20s  %-8s  %s\n", time.Since(t.began).Seconds(), name, a.Fate, word)
	if t.live != nil {
		fmt.Fprintf(t.out, "%d of %d settled", t.rows, t.live())
	}
}

func (t *roll) clear() {
	if t.live != nil {
		fmt.Fprint(t.out, "\r\x1b[K")
	}
}

func (t *roll) end(sum client.Complete) {
	t.clear()
	fmt.Fprint(t.out, many(sum.Members, "member"))
	for _, part := range parts(sum) {
		if part.count > 0 {
			fmt.Fprintf(t.out, ", %d %s", part.count, part.fate)
		}
	}
	fmt.Fprintln(t.out)
}

// part is how many members had a fate, and how the program ends for it.
type part struct {
	fate  session.Fate
	count int
	code  session.Code
}

func parts(sum client.Complete) []part {
	return []part{
		{session.FateAnswered, sum.Answered, 0},
		{session.FateFailed, sum.Failed, session.ErrMethod},
		{session.FateDied, sum.Died, session.ErrWorkerLost},
		{session.FateHung, sum.Hung, session.ErrWorkerHung},
		{session.FateLeft, sum.Left, session.ErrSessionDrained},
		{session.FateDeadline, sum.Deadline, session.ErrDeadline},
		{session.FateBusy, sum.Busy, session.ErrDeadline},
	}
}

// notAll is a broadcast that is complete, and not answered by all.
type notAll struct {
	text string
	code session.Code
}

// Error says how many have not.
func (e *notAll) Error() string { return e.text }

// Unwrap is the code of the first fate that is no answer.
func (e *notAll) Unwrap() error { return e.code }

// verdict is an error unless all have answered.
func verdict(pool string, sum client.Complete) error {
	if sum.Members == 0 {
		return &notAll{fmt.Sprintf("pool %q has no members: nobody was asked", pool), session.ErrPoolUnknown}
	}
	for _, p := range parts(sum)[1:] {
		if p.count > 0 {
			return &notAll{fmt.Sprintf("%d of %d members did not answer", sum.Members-sum.Answered, sum.Members), p.code}
		}
	}
	return nil
}
