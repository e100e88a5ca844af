package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// The bound of `first`: so many times the baseline's calls/s at that many
// sessions.
const (
	firstRatio    = 8
	firstSessions = 64
)

// runFirst compares Limpet relayed with the plain poller broker.
func runFirst(ctx context.Context, args []string, out io.Writer) error {
	o := newOptions("first", 5, out)
	c := Comparison{Callers: counts{1, firstSessions, 1024}}
	o.set.Var((*counts)(&c.Callers), "callers", "concurrent sessions, comma-separated")
	o.set.DurationVar(&c.WarmUp, "warmup", time.Second, "load before each window")
	o.set.DurationVar(&c.Window, "window", 3*time.Second, "what is measured of each run")
	o.set.IntVar(&c.Size, "size", 64, "bytes of a body")
	names := o.set.String("peers", "naive,limpet-relayed", "peers, comma-separated, the baseline first")
	if err := o.parse(args, map[string]string{"repeats": "3", "warmup": "300ms", "window": "1s"}); err != nil {
		return err
	}
	c.Repeats, c.verbose = o.repeats, o.verbose
	if err := c.choose(*names); err != nil {
		return err
	}
	if err := c.measure(ctx, o.progress); err != nil {
		return err
	}
	return reportFirst(o, &c, out)
}

func reportFirst(o *options, c *Comparison, out io.Writer) error {
	m := thisMachine()
	fmt.Fprintf(out, "echo of %d bytes, closed loop, every role a process of its own; medians (least-greatest) of %d interleaved runs of %v after %v\n%v\n\n",
		c.Size, c.Repeats, c.Window, c.WarmUp, m)
	if err := c.print(out); err != nil {
		return err
	}
	if err := o.write(struct {
		Machine Machine
		*Comparison
	}{m, c}); err != nil {
		return err
	}
	const subject = "limpet-relayed"
	if c.Peers[0] != "naive" || !slices.Contains(c.Peers, subject) || !slices.Contains(c.Callers, firstSessions) {
		return nil // another question was asked: the bound does not speak of it
	}
	fmt.Fprintln(out)
	got := c.Ratio(subject, firstSessions, Run.rate)
	return o.verdict(out, got.Median >= firstRatio, fmt.Sprintf("%s ÷ naive at %d sessions: %s, bound at least %d",
		subject, firstSessions, got.text(2), firstRatio))
}

func peerNames() string {
	var names []string
	for _, p := range peers() {
		names = append(names, p.Name())
	}
	return strings.Join(names, ", ")
}
