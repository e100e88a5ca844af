package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/session"
)

// jobPatience is how long an item waits for a worker where --wait is not given:
// a job is there to wait.
const jobPatience = time.Hour

// jobCommand is limpet job.
type jobCommand struct {
	asker

	file    string
	ordered bool
	window  int
	retries int
	hooks   bool
	json    bool
}

func newJob() *cobra.Command {
	var c jobCommand
	cmd := &cobra.Command{
		Use:   "job POOL METHOD",
		Short: "Run a method for every line of a file, on all workers of a pool",
		Long: `Reads one JSON argument a line, runs the method with each in a session of its
own, and writes each result as one line of JSON, as they come or with --ordered
in the order of the lines. Empty lines are skipped. At most --window lines are
read and not yet written.

What certainly did not run, because a worker or a broker died or was full, is
tried again; what may have run never is. A line that ends with an error has no
result line: it is named on stderr, or with --json takes part in the output:
every line then is an object with the line's index, from 0, and "result", or
"error", "code" and "outcome" (done, not run, unknown). The exit code is that of
the first error. Where stderr is a terminal, it shows how far the job has come.`,
		Example: `  seq 1000 | limpet job counter add
  limpet job tcl eval --file scripts.jsonl --ordered --json >results.jsonl
  limpet job parse words --file pages.jsonl | limpet job index insert`,
		Args: wordArgs(2, 2, "POOL", "METHOD"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd.Context(), args[0], args[1], cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	flags := cmd.Flags()
	c.flags(flags)
	c.wait = jobPatience
	flags.Lookup("wait").DefValue = jobPatience.String()
	flags.Lookup("timeout").Usage = "how long a line may take, with its wait and its retries; 0: as long as it takes"
	flags.StringVar(&c.file, "file", "-", "read the lines from this `file`; - is stdin")
	flags.BoolVar(&c.ordered, "ordered", false, "write the results in the order of the lines")
	countFlag(flags, &c.window, "window", 256, 1, 1_000_000, "lines that are read and not yet written")
	countFlag(flags, &c.retries, "retries", 10, 0, 1_000_000, "how often a line that did not run is tried again")
	flags.BoolVar(&c.hooks, "hooks", false, "let the pool's hooks scatter the lines and gather the results")
	flags.BoolVar(&c.json, "json", false, "write every end as an object, errors too")
	return cmd
}

func (c *jobCommand) run(ctx context.Context, pool, method string, in io.Reader, out, errs io.Writer) error {
	total := 0
	if c.file != "-" {
		file, n, err := openLines(c.file)
		if err != nil {
			return err
		}
		defer file.Close()
		in, total = file, n
	}
	ctx, stop := untilInterrupt(ctx)
	defer stop()
	conn, err := c.dial(ctx, "limpet job")
	if err != nil {
		return err
	}
	defer conn.Close()
	w := &jobWriter{jobCommand: c, ctx: ctx, out: out, errs: errs}
	if errs == os.Stderr && term.IsTerminal(int(os.Stderr.Fd())) {
		both := out == os.Stdout && term.IsTerminal(int(os.Stdout.Fd()))
		w.bar = newJobBar(errs, total, both)
	}
	reads, enough := context.WithCancel(ctx)
	defer enough()
	lines := &jobLines{ctx: reads, in: in}
	for item := range client.Job[codec.Body](ctx, conn, pool, method, lines.all(), c.options(&w.tally, total)...) {
		if err := w.write(&item); err != nil {
			enough() // the job waits for its lines, which may never come
			return err
		}
	}
	w.bar.end()
	return errors.Join(w.failure(), lines.err)
}

func (c *jobCommand) options(tally *client.JobTally, total int) []client.JobOption {
	opts := []client.JobOption{
		client.JobWindow(c.window), client.JobRetries(c.retries), client.JobLimit(c.timeout), client.JobTotal(total), client.JobCount(tally),
		client.JobOpen(client.WithWait(c.wait), client.WithLabels(c.labels), client.WithPriority(c.priority)),
	}
	if c.ordered {
		opts = append(opts, client.JobOrdered())
	}
	if c.hooks {
		opts = append(opts, client.JobHooks())
	}
	return opts
}

// openLines opens a file and counts its lines that are not empty; 0 for what
// cannot be read twice.
func openLines(name string) (file *os.File, lines int, err error) {
	if file, err = os.Open(name); err != nil {
		return nil, 0, usageError{err}
	}
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return file, 0, err
	}
	scanner := lineScanner(file)
	for scanner.Scan() {
		if len(bytes.TrimSpace(scanner.Bytes())) > 0 {
			lines++
		}
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("read %s twice: %w", name, err), file.Close())
	}
	return file, lines, nil
}

func lineScanner(in io.Reader) *bufio.Scanner {
	s := bufio.NewScanner(in)
	s.Buffer(nil, lineMost)
	return s
}

// jobLines makes lines the items of a job.
type jobLines struct {
	ctx context.Context // ends when no more are wanted
	in  io.Reader
	err error // why it has ended early; after the job
}

// all yields the arguments until the end, the first line that is none, or ctx's
// end. A read that is overtaken by it goes on until the process ends: nothing can
// end it.
func (l *jobLines) all() iter.Seq[any] {
	return func(yield func(any) bool) {
		scanner := lineScanner(l.in)
		got := make(chan read)
		next := make(chan struct{})
		defer close(next)
		go func() {
			for range next {
				line, err := scan(scanner)
				select {
				case got <- read{line, err}:
				case <-l.ctx.Done():
					return
				}
			}
		}()
		for n := 1; ; n++ {
			select {
			case next <- struct{}{}:
			case <-l.ctx.Done():
				return
			}
			select {
			case r := <-got:
				if !l.yield(n, r, yield) {
					return
				}
			case <-l.ctx.Done():
				return
			}
		}
	}
}

func (l *jobLines) yield(n int, r read, yield func(any) bool) bool {
	switch {
	case errors.Is(r.err, io.EOF):
		return false
	case r.err != nil:
		l.err = fmt.Errorf("line %d: %w", n, r.err)
		return false
	case len(bytes.TrimSpace([]byte(r.line))) == 0:
		return true
	}
	arg, err := parseJSON([]byte(r.line))
	if err != nil {
		l.err = usageError{fmt.Errorf("line %d: %w", n, err)}
		return false
	}
	return yield(arg)
}

// jobWriter writes what a job's items end with.
type jobWriter struct {
	*jobCommand

	ctx       context.Context
	out, errs io.Writer
	tally     client.JobTally
	bar       *jobBar // nil: none is shown
	first     error
	failed    int
}

// jobLine is an end as --json writes it.
type jobLine struct {
	Index   int             `json:"index"`
	Part    int             `json:"part,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   string          `json:"error,omitempty"`
	Code    session.Code    `json:"code,omitempty"`
	Outcome string          `json:"outcome,omitempty"`
}

// write is an error where nobody reads any more.
func (w *jobWriter) write(item *client.JobItem[any, codec.Body]) error {
	text, err := []byte(nil), item.Err
	if err == nil {
		if text, err = w.shown(item.Result); err != nil {
			err = fmt.Errorf("item %d: it was done, its result cannot be shown: %w", item.Index, err)
		}
	}
	if err != nil {
		w.failed++
		if w.first == nil {
			w.first = err
		}
	}
	w.bar.step(w.tally.Counts())
	if w.json {
		line := jobLine{Index: item.Index, Part: item.Part, Result: bytes.TrimSuffix(text, []byte{'\n'})}
		if err != nil {
			line.Error, line.Code, line.Outcome = err.Error(), session.CodeOf(err), outcomeWord(item.Outcome())
		}
		if text, err = json.Marshal(line); err != nil {
			return fmt.Errorf("write item %d: %w", item.Index, err)
		}
		text, err = append(text, '\n'), nil
	}
	if err != nil {
		if w.ctx.Err() == nil { // what was interrupted is counted, and not named line by line
			w.bar.clear(true)
			fmt.Fprintf(w.errs, "limpet: %s\n", plain(oneLine(err.Error())))
		}
		return nil
	}
	w.bar.clear(false)
	_, err = w.out.Write(text)
	return err
}

func outcomeWord(o session.Outcome) string {
	if o == session.Unknown {
		return "unknown"
	}
	return o.Error()
}

// failure is what the program ends with, after the job.
func (w *jobWriter) failure() error {
	c := w.tally.Counts()
	switch {
	case w.ctx.Err() != nil:
		return fmt.Errorf("%d items done, %d unknown, %d not run: %w", c.Done+c.Failed, c.Unknown, c.NotRun, errInterrupted)
	case w.failed == 0:
		return nil
	default:
		return fmt.Errorf("%d of %d items failed, %d of them with unknown outcome; the first: %w", w.failed, c.Ended(), c.Unknown, w.first)
	}
}
