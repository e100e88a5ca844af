package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
)

// lineMost bounds one line of a pipe.
const lineMost = 16 << 20

// sessionCommand is limpet session.
type sessionCommand struct {
	asker

	keepGoing bool
}

func newSession() *cobra.Command {
	var c sessionCommand
	cmd := &cobra.Command{
		Use:   "session POOL",
		Short: "Make many calls in one session, from a prompt or a pipe",
		Long: `Opens a session in a pool and makes every line, METHOD [JSON], a call in it.
Replies are written to stdout, a line of JSON each, errors to stderr, a line
each. Empty lines and lines that begin with # are skipped.

On a terminal it is a prompt with history: Ctrl-C cancels the call that runs,
a second one, Ctrl-C at the prompt, or Ctrl-D leaves. From a pipe the first
error ends it, and its exit code is that of the error; with --keep-going the
other lines are still called, and the exit code is that of the first error.

However it ends, the session is closed.`,
		Example: `  limpet session counter
  printf 'add 40\nadd 2\n' | limpet session counter`,
		Args: wordArgs(1, 1, "POOL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd.Context(), args[0], cmd.OutOrStdout())
		},
	}
	c.flags(cmd.Flags())
	c.replyFlags(cmd.Flags())
	cmd.Flags().BoolVar(&c.keepGoing, "keep-going", false, "from a pipe: go on after an error")
	return cmd
}

func (c *sessionCommand) run(ctx context.Context, pool string, out io.Writer) error {
	signals := make(chan os.Signal, 4) // one that finds no room would say nothing new
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	opening, cancel := cancelledBy(ctx, signals)
	conn, s, err := c.open(opening, "limpet session", pool)
	cancel()
	if err != nil {
		return err
	}
	t := &talk{asker: &c.asker, session: s, out: out, signals: signals}
	if term.IsTerminal(int(os.Stdin.Fd())) {
		r := s.Route()
		fmt.Fprintf(os.Stderr, "session %s on worker %d of node %s, process %d\n", s.ID(), r.Worker, plain(r.NodeName), r.PID)
		fmt.Fprintln(os.Stderr, "METHOD [JSON] is a call, Ctrl-C cancels it, Ctrl-D leaves")
		err = t.interactive(ctx, newPrompt(plain(pool)+"> "))
	} else {
		err = t.piped(ctx, os.Stdin, c.keepGoing)
	}
	if bad := shut(ctx, conn, s); err == nil {
		err = bad
	}
	return err
}

// cancelledBy returns a context that the next signal ends, until cancel.
func cancelledBy(ctx context.Context, signals <-chan os.Signal) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// talk makes lines calls of one session.
type talk struct {
	asker   *asker
	session *client.Session
	out     io.Writer
	signals <-chan os.Signal
}

// read is one line, or why there is none.
type read struct {
	line string
	err  error
}

// next waits for a line or a signal. A read that a signal overtakes goes on
// until the process ends: nothing can end it.
func (t *talk) next(readLine func() (string, error)) (string, error) {
	got := make(chan read, 1)
	go func() {
		line, err := readLine()
		got <- read{line, err}
	}()
	select {
	case r := <-got:
		return r.line, r.err
	case <-t.signals:
		return "", errInterrupted
	}
}

// interactive reads from a prompt until the user leaves or the session is over.
func (t *talk) interactive(ctx context.Context, p *prompt) error {
	for {
		line, err := t.next(p.readLine)
		if err != nil {
			p.restore()
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		leave, err := t.cancellable(ctx, line)
		if err != nil {
			complain(os.Stderr, err)
		}
		if leave {
			return nil
		}
		if over := t.session.Err(); over != nil {
			return fmt.Errorf("the session is over: %w", over)
		}
	}
}

// cancellable makes a call that one signal cancels. A second one leaves
// without waiting for what the worker says to that.
func (t *talk) cancellable(ctx context.Context, line string) (leave bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- t.line(ctx, line) }()
	for first := true; ; first = false {
		select {
		case err := <-done:
			return false, err
		case s := <-t.signals:
			fmt.Fprintln(os.Stderr) // after the terminal's ^C
			if !first || s == syscall.SIGTERM {
				return true, nil
			}
			cancel()
		}
	}
}

// piped reads lines to their end, or to the first error.
func (t *talk) piped(ctx context.Context, in io.Reader, keepGoing bool) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, lineMost)
	var firstErr error
	for n := 1; ; n++ {
		line, err := t.next(func() (string, error) { return scan(lines) })
		switch {
		case errors.Is(err, io.EOF):
			return firstErr
		case err == nil:
			calling, cancel := cancelledBy(ctx, t.signals)
			err = t.line(calling, line)
			cancel()
		}
		if err == nil {
			continue
		}
		if err = fmt.Errorf("line %d: %w", n, err); firstErr == nil {
			firstErr = saidError{err}
		}
		if !keepGoing || t.session.Err() != nil || stops(err) {
			return err
		}
		complain(os.Stderr, err)
	}
}

// saidError is an error that stderr has had already.
type saidError struct{ error }

// Unwrap is the error.
func (e saidError) Unwrap() error { return e.error }

// stops reports an error after which no other line can be read or called.
func stops(err error) bool {
	return errors.Is(err, bufio.ErrTooLong) || errors.Is(err, session.ErrCancelled)
}

func scan(lines *bufio.Scanner) (string, error) {
	if lines.Scan() {
		return lines.Text(), nil
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("read stdin: %w", err)
	}
	return "", io.EOF
}

// line makes one line a call.
func (t *talk) line(ctx context.Context, line string) error {
	line = strings.TrimSpace(line)
	if line == "" || line[0] == '#' {
		return nil
	}
	method, text := line, ""
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		method, text = line[:i], strings.TrimSpace(line[i:])
	}
	var arg any
	if text != "" {
		var err error
		if arg, err = parseJSON([]byte(text)); err != nil {
			return usageError{fmt.Errorf("argument of %s: %w", method, err)}
		}
	}
	return t.asker.call(ctx, t.session, method, arg, t.out)
}
