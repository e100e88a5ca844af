package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/limpet-rpc/limpet/client"
)

const (
	benchOpeners = 64                     // sessions that are opened or closed at a time
	benchPause   = 100 * time.Millisecond // between the tries of one whose session is over
	benchShown   = 500 * time.Millisecond // between two progress lines
)

// benchCommand is limpet bench.
type benchCommand struct {
	callCommand

	sessions int
	duration time.Duration
}

func newBench() *cobra.Command {
	var c benchCommand
	cmd := &cobra.Command{
		Use:   "bench POOL METHOD [JSON]",
		Short: "Measure calls/s and latency of a pool by calling it",
		Long: `Opens sessions in a pool and calls a method in all of them, each call right
after the reply to the last, for as long as --duration says. Shows calls a
second, latency and its histogram, and counts what failed by its code. What is
still running at the end is not counted.

The method is really called: take one that does no harm. JSON is read as
'limpet call' reads it. Ctrl-C ends it with what was measured until then. Where
calls failed, the exit code is that of the first error.`,
		Example: `  limpet bench counter add 1
  limpet bench tcl eval '{"script": "expr 6 * 7"}' --sessions 64 --duration 30s`,
		Args: wordArgs(2, 3, "POOL", "METHOD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd.Context(), args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	c.flags(cmd.Flags())
	cmd.Flags().BoolVar(&c.bytes, "bytes", false, "send the argument as bytes, as it is, instead of reading it as JSON")
	countFlag(cmd.Flags(), &c.sessions, "sessions", 1, 1, 100_000, "sessions that call at once")
	spanFlag(cmd.Flags(), &c.duration, "duration", 10*time.Second, time.Millisecond, "how long to call")
	return cmd
}

func (c *benchCommand) run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) error {
	arg, err := c.argument(args[2:], in)
	if err != nil {
		return err
	}
	ctx, stop := untilInterrupt(ctx)
	defer stop()
	conn, err := c.dial(ctx, "limpet bench")
	if err != nil {
		return err
	}
	defer conn.Close()
	b := &bench{asker: &c.asker, conn: conn, pool: args[0], method: args[1], arg: arg, sessions: make([]*client.Session, c.sessions)}
	defer b.close(context.WithoutCancel(ctx))
	if err := b.open(ctx); err != nil {
		return fmt.Errorf("%d of %d sessions opened: %w", b.opened.Load(), c.sessions, err)
	}
	if err := b.call(ctx, b.sessions[0]); err != nil { // what cannot work at all is no measurement
		return fmt.Errorf("the first call: %w", err)
	}
	fmt.Fprintf(errs, "%s open; calling %s for %s\n", many(c.sessions, "session"), plain(b.method), c.duration)
	calling, cancel := context.WithTimeout(ctx, c.duration)
	defer cancel()
	t := b.measure(calling, errs)
	fmt.Fprintf(out, "pool %s, method %s, %s\n", plain(b.pool), plain(b.method), many(c.sessions, "session"))
	t.write(out)
	return t.failure()
}

// bench calls one method in many sessions of one client.
type bench struct {
	// fixed after open
	asker        *asker
	conn         *client.Client
	pool, method string
	arg          any

	sessions []*client.Session // each its caller's; one that is missing is nil
	opened   atomic.Int64
}

// each runs f for every session, benchOpeners at a time.
func (b *bench) each(f func(i int)) {
	var next atomic.Int64
	var running sync.WaitGroup
	for range min(benchOpeners, len(b.sessions)) {
		running.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(b.sessions); i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	running.Wait()
}

// open opens all sessions; the first that fails is the error.
func (b *bench) open(ctx context.Context) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	b.each(func(i int) {
		if ctx.Err() != nil {
			return
		}
		s, err := b.asker.openIn(ctx, b.conn, b.pool)
		if err != nil {
			fail(err)
			return
		}
		b.sessions[i] = s
		b.opened.Add(1)
	})
	if err := context.Cause(ctx); err != nil {
		if errors.Is(err, context.Canceled) {
			return errInterrupted
		}
		return err
	}
	return nil
}

// close gives all sessions back. Those that are not heard are freed by their
// lease.
func (b *bench) close(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	b.each(func(i int) {
		if b.sessions[i] != nil {
			_ = b.sessions[i].Close(ctx) // it was over, or ends by itself
		}
	})
}

// measure calls in every session until ctx ends.
func (b *bench) measure(ctx context.Context, errs io.Writer) *tally {
	t := newTally()
	var calling sync.WaitGroup
	for i := range b.sessions {
		calling.Go(func() { b.loop(ctx, i, t) })
	}
	if errs == os.Stderr && term.IsTerminal(int(os.Stderr.Fd())) {
		calling.Go(func() { progress(ctx, t, errs) })
	}
	<-ctx.Done()
	t.end()
	calling.Wait()
	return t
}

// loop is one caller. The end of a call is the start of the next.
func (b *bench) loop(ctx context.Context, i int, t *tally) {
	for began := time.Now(); ctx.Err() == nil; {
		err := b.call(ctx, b.sessions[i])
		ended := time.Now()
		if ctx.Err() != nil {
			return // cut off by the end
		}
		t.add(i, ended.Sub(began), err)
		if began = ended; err != nil && b.sessions[i].Err() != nil {
			b.reopen(ctx, i, t)
			began = time.Now()
		}
	}
}

// reopen opens a new session where one is over, and counts what fails meanwhile.
func (b *bench) reopen(ctx context.Context, i int, t *tally) {
	for ctx.Err() == nil {
		s, err := b.asker.openIn(ctx, b.conn, b.pool)
		if err == nil {
			b.sessions[i] = s
			return
		}
		if ctx.Err() != nil {
			return
		}
		t.add(i, 0, err)
		select {
		case <-time.After(benchPause):
		case <-ctx.Done():
		}
	}
}

// call makes one call and drops its reply.
func (b *bench) call(ctx context.Context, s *client.Session) error {
	if b.asker.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.asker.timeout)
		defer cancel()
	}
	return s.Call(ctx, b.method, b.arg, nil)
}

// progress shows where the measurement stands, on one line of a terminal.
func progress(ctx context.Context, t *tally, errs io.Writer) {
	again := time.NewTicker(benchShown)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			fmt.Fprintf(errs, "\r\x1b[K%s", t.soFar())
		case <-ctx.Done():
			fmt.Fprint(errs, "\r\x1b[K")
			return
		}
	}
}
