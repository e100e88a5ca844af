package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Standing is how all peers stand to each other: a Comparison for each kind of
// load, repeated in turn.
type Standing struct {
	Machine Machine
	Absent  []string // peers that this machine cannot run, and why
	Loads   []*Comparison
}

// standingBase is what the table's ratios are formed to; bounds name their own.
const standingBase = "nats"

// standingPeers are compared by `peers`, base first. A new one is put here, in
// peers, and where it has bounds in floors.
var standingPeers = []string{
	standingBase,
	"limpet-direct", "limpet-direct-kept", "limpet-direct-locked", "limpet-lanes", "limpet-relayed", "limpet-two-brokers", "limpet-relayed-locked", "limpet-once", "zmqio-bare",
	"c-direct", "c-threads", "c-broker",
	"tcp-connections", "tcp-multiplexed", "grpc-unary", "grpc-stream", "net-rpc", "naive",
}

// Sizes of bodies, in bytes, and the callers that the larger is measured with.
const (
	smallBody = 64
	largeBody = 1024
	largeAt   = 64
)

// runPeers compares all peers and holds Limpet to its floors.
func runPeers(ctx context.Context, args []string, out io.Writer) error {
	o := newOptions("peers", 5, out)
	small := Comparison{Callers: counts{1, 64, 1024}, Size: smallBody}
	large := Comparison{Callers: counts{largeAt}, Size: largeBody}
	o.set.Var((*counts)(&small.Callers), "callers", "concurrent sessions with bodies of 64 bytes, comma-separated")
	warmUp := o.set.Duration("warmup", 300*time.Millisecond, "load before each window")
	window := o.set.Duration("window", 1200*time.Millisecond, "what is measured of each run")
	names := o.set.String("peers", strings.Join(standingPeers, ","), "peers, comma-separated, the base of the table's ratios first")
	page := o.set.String("page", "", "write the page to this Markdown `file`, and its chart beside it as SVG")
	if err := o.parse(args, map[string]string{"repeats": "1", "warmup": "100ms", "window": "200ms"}); err != nil {
		return err
	}
	present, absent, err := presentPeers(ctx, strings.Split(*names, ","))
	if err != nil {
		return err
	}
	s := &Standing{Machine: thisMachine(), Absent: absent, Loads: []*Comparison{&small, &large}}
	for _, c := range s.Loads {
		c.Peers, c.Repeats, c.WarmUp, c.Window, c.verbose = present, o.repeats, *warmUp, *window, o.verbose
	}
	if err := s.measure(ctx, o.repeats, o.progress); err != nil {
		return err
	}
	if err := errors.Join(s.print(out), o.write(s)); err != nil {
		return err
	}
	if *page != "" {
		if err := s.writePage(*page); err != nil {
			return err
		}
	}
	return s.hold(o, out)
}

// presentPeers are those of names that this machine can run, and why the others
// cannot be.
func presentPeers(ctx context.Context, names []string) (present, absent []string, err error) {
	for _, name := range names {
		peer, ok := peerNamed(name)
		if !ok {
			return nil, nil, usageError{fmt.Errorf("no peer %q; there are %s", name, peerNames())}
		}
		if needy, ok := peer.(Needy); ok {
			if missing := needy.Missing(ctx); missing != nil {
				absent = append(absent, fmt.Sprintf("%s: %v", name, missing))
				continue
			}
		}
		present = append(present, name)
	}
	if len(present) == 0 {
		return nil, nil, errors.New("none of these peers can be run here: " + strings.Join(absent, "; "))
	}
	return present, absent, nil
}

// measure interleaves the loads too.
func (s *Standing) measure(ctx context.Context, repeats int, progress io.Writer) error {
	for repetition := range repeats {
		for _, c := range s.Loads {
			if err := c.repeat(ctx, repetition, progress); err != nil {
				return err
			}
		}
	}
	return nil
}

// about says how the figures were taken.
func (s *Standing) about() string {
	c := s.Loads[0]
	return fmt.Sprintf("echo, closed loop, every role a process of its own, every session a goroutine of its own on the worker (C: one thread serves all, c-threads: a thread each); "+
		"medians (least-greatest) of %d interleaved repetitions, each %v after a warm-up of %v", c.Repeats, c.Window, c.WarmUp)
}

// columns are those of the table.
func (s *Standing) columns() []string {
	return []string{"bytes", "callers", "peer", "calls/s", "÷ " + s.Loads[0].Peers[0], "p50 µs", "p99 µs", "CPU s per M calls", "resident MiB"}
}

// rows are the table, the fastest peer first in each load.
func (s *Standing) rows() [][]string {
	var rows [][]string
	for _, c := range s.Loads {
		for _, callers := range c.Callers {
			for _, peer := range c.byRate(callers) {
				figure := func(of func(Run) float64) Spread { return spreadOf(c.figures(peer, callers, of)) }
				rows = append(rows, []string{
					fmt.Sprint(c.Size), fmt.Sprint(callers), peer, figure(Run.rate).text(0), c.Ratio(peer, callers, Run.rate).text(2),
					figure(Run.p50).text(0), figure(Run.p99).text(0), figure(Run.cpu).text(1), c.resident(peer, callers),
				})
			}
		}
	}
	return rows
}

// byRate are the peers with the fastest first.
func (c *Comparison) byRate(callers int) []string {
	rate := func(peer string) float64 { return spreadOf(c.figures(peer, callers, Run.rate)).Median }
	return slices.SortedStableFunc(slices.Values(c.Peers), func(a, b string) int { return cmp.Compare(rate(b), rate(a)) })
}

// print writes everything as text.
func (s *Standing) print(out io.Writer) error {
	fmt.Fprintf(out, "%s\n%v\n\n", s.about(), s.Machine)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range append([][]string{s.columns()}, s.rows()...) {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	for _, why := range s.Absent {
		fmt.Fprintf(out, "left out: %s\n", why)
	}
	return nil
}
