package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// wherePeers are asked by default: Limpet, its transport without the promises, and
// plain Go.
const wherePeers = "limpet-direct,limpet-relayed,limpet-direct-locked,limpet-lanes,zmqio-bare,tcp-multiplexed"

// Where is what the CPU of a call was spent on, by process.
type Where struct {
	Machine Machine
	Load    *Comparison
	Spent   []*Spent
}

// Spent is the CPU of one process of a peer, under one number of callers, over all
// repetitions.
type Spent struct {
	Peer    string
	Callers int
	Process string
	Calls   int64
	CPU     time.Duration        // in the windows, as the system counts it
	Samples [parts]time.Duration // of its profiles, warm-up included: only their shares count
}

// micros is the CPU of a call that went to a part, in µs.
func (s *Spent) micros(p part) float64 {
	var all time.Duration
	for _, d := range s.Samples {
		all += d
	}
	return s.total() * float64(s.Samples[p]) / float64(max(all, 1))
}

func (s *Spent) total() float64 {
	return float64(s.CPU) / float64(time.Microsecond) / float64(max(s.Calls, 1))
}

// runWhere profiles every process of every run, which costs a few percent of the rate.
func runWhere(ctx context.Context, args []string, out io.Writer) error {
	o := newOptions("where", 3, out)
	c := &Comparison{Callers: counts{64, 1024}}
	o.set.Var((*counts)(&c.Callers), "callers", "concurrent sessions, comma-separated")
	o.set.DurationVar(&c.WarmUp, "warmup", 300*time.Millisecond, "load before each window")
	o.set.DurationVar(&c.Window, "window", 2*time.Second, "what is measured of each run")
	o.set.IntVar(&c.Size, "size", smallBody, "bytes of a body")
	names := o.set.String("peers", wherePeers, "peers whose processes are written in Go, comma-separated")
	page := o.set.String("page", "", "write the table to this Markdown `file` too")
	if err := o.parse(args, map[string]string{"repeats": "1", "warmup": "100ms", "window": "500ms"}); err != nil {
		return err
	}
	c.Repeats, c.verbose = o.repeats, o.verbose
	if err := c.choose(*names); err != nil {
		return err
	}
	for _, name := range c.Peers {
		peer, _ := peerNamed(name)
		if _, own := peer.(Driver); own {
			return usageError{fmt.Errorf("the client of peer %q is not in Go and cannot be profiled", name)}
		}
	}
	w := &Where{Machine: thisMachine(), Load: c}
	c.takeProfiles = w.take
	if err := c.measure(ctx, o.progress); err != nil {
		return err
	}
	if err := w.print(out); err != nil {
		return err
	}
	if *page != "" {
		if err := os.WriteFile(*page, []byte(w.page()), 0o644); err != nil {
			return fmt.Errorf("write the page: %w", err)
		}
	}
	return o.write(w)
}

// take adds what the processes of a run were profiled to spend.
func (w *Where) take(run Run, dir string) error {
	for i, process := range run.Processes {
		samples, err := readProfile(dir, process)
		if err != nil {
			return err
		}
		w.spent(run.Peer, run.Callers, process).add(run.Calls, run.CPU[i], samples)
	}
	return nil
}

// spent finds or makes the entry of a process.
func (w *Where) spent(peer string, callers int, process string) *Spent {
	for _, s := range w.Spent {
		if s.Peer == peer && s.Callers == callers && s.Process == process {
			return s
		}
	}
	s := &Spent{Peer: peer, Callers: callers, Process: process}
	w.Spent = append(w.Spent, s)
	return s
}

func (s *Spent) add(calls int64, cpu time.Duration, samples [parts]time.Duration) {
	s.Calls += calls
	s.CPU += cpu
	for p, d := range samples {
		s.Samples[p] += d
	}
}

func (w *Where) about() string {
	c := w.Load
	return fmt.Sprintf("CPU of a call in µs, by process and by what it went to; echo of %d bytes, closed loop; sums of %d interleaved repetitions of %v after %v, all processes profiled",
		c.Size, c.Repeats, c.Window, c.WarmUp)
}

func (w *Where) columns() []string {
	head := []string{"callers", "peer", "process", "all"}
	for p := range parts {
		head = append(head, p.String())
	}
	return head
}

func (w *Where) rows() [][]string {
	var rows [][]string
	for _, callers := range w.Load.Callers {
		for _, peer := range w.Load.Peers {
			for _, s := range w.Spent {
				if s.Callers != callers || s.Peer != peer {
					continue
				}
				row := []string{fmt.Sprint(callers), peer, s.Process, fmt.Sprintf("%.2f", s.total())}
				for p := range parts {
					row = append(row, fmt.Sprintf("%.2f", s.micros(p)))
				}
				rows = append(rows, row)
			}
		}
	}
	return rows
}

func (w *Where) print(out io.Writer) error {
	fmt.Fprintf(out, "%s\n%v\n\n", w.about(), w.Machine)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{w.columns()}, w.rows()...) {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	for p := range parts {
		fmt.Fprintf(out, "%-10s %s\n", p, p.about())
	}
	return nil
}

func (w *Where) page() string {
	var b strings.Builder
	c := w.Load
	fmt.Fprintf(&b, "# Where the CPU of a call goes\n\nWritten by `limpet-bench where --repeats %d --window %v --warmup %v --page docs/profile.md`, which is a part of `make bench`, on\n\n%v.\n\n%s.\n\n",
		c.Repeats, c.Window, c.WarmUp, w.Machine, upperFirst(w.about()))
	markdown(&b, w.columns(), w.rows())
	b.WriteString("\n")
	for p := range parts {
		fmt.Fprintf(&b, "- *%s*: %s\n", p, p.about())
	}
	return b.String()
}

// readProfile sums what a process's profile in dir has for each part.
func readProfile(dir, process string) (sum [parts]time.Duration, err error) {
	role := process
	if process == "client" {
		role = "load"
	}
	files, err := filepath.Glob(filepath.Join(dir, role+"-*.pprof"))
	if err != nil {
		return sum, err
	}
	for _, file := range files {
		if strings.Count(filepath.Base(file), "-") != strings.Count(role, "-")+1 {
			continue // broker-2-PID is not broker's
		}
		return partsOf(file)
	}
	return sum, fmt.Errorf("%s left no profile", process)
}
