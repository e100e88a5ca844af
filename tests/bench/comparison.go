package main

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"
	"text/tabwriter"
	"time"
)

// Comparison measures peers in turn: for every repetition and number of callers
// each peer once, in processes that are started for that one run, so that what
// the machine does beside the bench meets all peers alike.
type Comparison struct {
	Peers   []string // the baseline first
	Callers []int
	Repeats int
	WarmUp  time.Duration
	Window  time.Duration
	Size    int // bytes of a body
	Runs    []Run
	verbose bool

	takeProfiles func(run Run, dir string) error // of the processes of a run, which have ended; nil: they are not profiled
}

// Run is one peer under one number of callers in one repetition.
type Run struct {
	Peer       string
	Callers    int
	Repetition int
	Processes  []string // the names of what CPU and Resident list
	Load
}

func (r Run) rate() float64 { return float64(r.Calls) / r.Elapsed.Seconds() }
func (r Run) p50() float64  { return float64(r.P50) / float64(time.Microsecond) }
func (r Run) p99() float64  { return float64(r.P99) / float64(time.Microsecond) }

// cpu is CPU seconds per million calls, summed over all processes.
func (r Run) cpu() float64 {
	var sum time.Duration
	for _, d := range r.CPU {
		sum += d
	}
	return sum.Seconds() / float64(r.Calls) * 1e6
}

// choose takes the peers' names, comma-separated, and checks the size of bodies.
func (c *Comparison) choose(names string) error {
	c.Peers = strings.Split(names, ",")
	for _, name := range c.Peers {
		if _, ok := peerNamed(name); !ok {
			return usageError{fmt.Errorf("no peer %q; there are %s", name, peerNames())}
		}
	}
	if c.Size < minBody {
		return usageError{fmt.Errorf("-size must be at least %d", minBody)}
	}
	return nil
}

// measure fills Runs; it tells progress about each.
func (c *Comparison) measure(ctx context.Context, progress io.Writer) error {
	for repetition := range c.Repeats {
		if err := c.repeat(ctx, repetition, progress); err != nil {
			return err
		}
	}
	return nil
}

// repeat is one repetition of measure.
func (c *Comparison) repeat(ctx context.Context, repetition int, progress io.Writer) error {
	for _, callers := range c.Callers {
		for i := range c.Peers {
			name := c.Peers[(i+repetition)%len(c.Peers)] // nobody is always first
			run, err := c.one(ctx, name, callers)
			if err != nil {
				return fmt.Errorf("%s with %d callers: %w", name, callers, err)
			}
			run.Repetition = repetition
			c.Runs = append(c.Runs, run)
			fmt.Fprintf(progress, "%d/%d  %5d callers  %-22s %9.0f calls/s\n", repetition+1, c.Repeats, callers, name, run.rate())
		}
	}
	return nil
}

func (c *Comparison) one(ctx context.Context, name string, callers int) (Run, error) {
	if c.takeProfiles == nil {
		return c.run(ctx, name, callers)
	}
	dir, stop, err := orderProfiles()
	if err != nil {
		return Run{}, err
	}
	defer stop()
	run, err := c.run(ctx, name, callers)
	if err != nil {
		return run, err
	}
	return run, c.takeProfiles(run, dir)
}

func (c *Comparison) run(ctx context.Context, name string, callers int) (Run, error) {
	run := Run{Peer: name, Callers: callers}
	peer, ok := peerNamed(name)
	if !ok {
		return run, fmt.Errorf("no peer %q", name)
	}
	family := &Family{verbose: c.verbose}
	defer family.Stop()
	setup := Setup{Peer: name, Sessions: callers}
	if err := family.AddServers(ctx, peer, setup); err != nil {
		return run, err
	}
	order := LoadOrder{WarmUp: c.WarmUp, Window: c.Window, Size: c.Size}
	for _, server := range family.Members {
		order.Pids = append(order.Pids, server.Pid)
		run.Processes = append(run.Processes, path.Base(server.Role))
	}
	run.Processes = append(run.Processes, "client")
	load, err := family.Add(ctx, "load", setup)
	if err != nil {
		return run, err
	}
	err = load.Ask(ctx, "load", order, &run.Load, c.WarmUp+c.Window+readyWait)
	return run, err
}

// figures are one figure of one peer and number of callers, by repetition.
func (c *Comparison) figures(peer string, callers int, of func(Run) float64) []float64 {
	var list []float64
	for _, r := range c.Runs {
		if r.Peer == peer && r.Callers == callers {
			list = append(list, of(r))
		}
	}
	return list
}

// Ratio is how a peer stands to the baseline, by repetition.
func (c *Comparison) Ratio(peer string, callers int, of func(Run) float64) Spread {
	return c.RatioTo(c.Peers[0], peer, callers, of)
}

// RatioTo is how a peer stands to another, by repetition.
func (c *Comparison) RatioTo(base, peer string, callers int, of func(Run) float64) Spread {
	return spreadOf(ratios(c.figures(peer, callers, of), c.figures(base, callers, of)))
}

// print writes the table: medians and, in parentheses, the least and greatest.
func (c *Comparison) print(out io.Writer) error {
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "callers\tpeer\tcalls/s\tp50 µs\tp99 µs\tCPU s per M calls\tresident MiB")
	for _, callers := range c.Callers {
		for i, peer := range c.Peers {
			figure := func(of func(Run) float64) Spread { return spreadOf(c.figures(peer, callers, of)) }
			fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", callers, peer, figure(Run.rate).text(0), figure(Run.p50).text(0),
				figure(Run.p99).text(0), figure(Run.cpu).text(1), c.resident(peer, callers))
			if i == 0 {
				continue
			}
			ratio := func(of func(Run) float64) string { return c.Ratio(peer, callers, of).text(2) }
			fmt.Fprintf(t, "\t  ÷ %s\t%s\t%s\t%s\t%s\t\n", c.Peers[0], ratio(Run.rate), ratio(Run.p50), ratio(Run.p99), ratio(Run.cpu))
		}
	}
	return t.Flush()
}

// resident is the median of each process at the end of the window.
func (c *Comparison) resident(peer string, callers int) string {
	var words []string
	for i, name := range c.processes(peer) {
		mib := spreadOf(c.figures(peer, callers, func(r Run) float64 { return float64(r.Resident[i]) / (1 << 20) }))
		words = append(words, fmt.Sprintf("%s %.0f", name, mib.Median))
	}
	return strings.Join(words, ", ")
}

func (c *Comparison) processes(peer string) []string {
	for _, r := range c.Runs {
		if r.Peer == peer {
			return r.Processes
		}
	}
	return nil
}
