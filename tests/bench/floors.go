package main

import (
	"fmt"
	"io"
	"slices"
)

// floor is a bound on the ratio of two peers that were measured in the same
// repetitions, and where that ratio should be.
type floor struct {
	what    string // the load, in the words of the table
	subject string
	base    string
	callers int
	size    int // bytes of a body
	figure  string
	bound   float64
	aim     float64
}

// Figures of floors. More calls/s is better, less of the others.
const (
	figureRate = "calls/s"
	figureP50  = "p50"
	figureCPU  = "CPU s per M calls"
)

var figureOf = map[string]func(Run) float64{figureRate: Run.rate, figureP50: Run.p50, figureCPU: Run.cpu}

// floors are what Limpet is held to. Peers that are not there yet leave theirs
// without a figure.
var floors = []floor{
	{"direct, 64 callers", "limpet-direct", "c-direct", 64, smallBody, figureRate, 0.68, 0.9},
	{"direct, 64 callers", "limpet-direct", "nats", 64, smallBody, figureRate, 4.5, 6},
	{"direct, 64 callers", "limpet-direct", "grpc-unary", 64, smallBody, figureRate, 11, 15},
	{"direct, 64 callers", "limpet-direct", "grpc-stream", 64, smallBody, figureRate, 2.3, 3},
	{"direct, 1,024 callers", "limpet-direct", "c-direct", 1024, smallBody, figureRate, 0.6, 0.85},
	{"direct, 1,024 callers", "limpet-direct", "nats", 1024, smallBody, figureRate, 5, 7},
	{"direct, 1,024 callers", "limpet-direct", "grpc-unary", 1024, smallBody, figureRate, 20, 28},
	{"direct, 1 caller", "limpet-direct", "c-direct", 1, smallBody, figureP50, 1.6, 1.2},
	{"direct, 1 caller", "limpet-direct", "nats", 1, smallBody, figureP50, 0.7, 0.5},
	{"direct, 1 caller", "limpet-direct", "grpc-unary", 1, smallBody, figureP50, 0.8, 0.6},
	{"relayed, 64 callers", "limpet-relayed", "c-broker", 64, smallBody, figureRate, 1.0, 1.3},
	{"relayed, 1,024 callers", "limpet-relayed", "c-broker", 1024, smallBody, figureRate, 1.0, 1.3},
	{"relayed, 64 callers", "limpet-relayed", "nats", 64, smallBody, figureRate, 2.5, 3.5},
	{"relayed, 1,024 callers", "limpet-relayed", "nats", 1024, smallBody, figureRate, 3.7, 5},
	{"relayed, 1 caller", "limpet-relayed", "c-broker", 1, smallBody, figureP50, 1.1, 0.9},
	{"a locked OS thread a session, 64 callers", "limpet-direct-locked", "c-threads", 64, smallBody, figureRate, 0.7, 1.0},
	{"lanes, 64 callers", "limpet-lanes", "limpet-direct", 64, smallBody, figureRate, 0.7, 0.9},
	{"direct, 64 callers, 1 KiB", "limpet-direct", "c-direct", largeAt, largeBody, figureRate, 0.7, 0.9},
	{"direct, 64 callers, 1 KiB", "limpet-direct", "nats", largeAt, largeBody, figureRate, 4.3, 6},
	{"direct, 64 callers", "limpet-direct", "c-direct", 64, smallBody, figureCPU, 1.6, 1.2},
	{"direct, 64 callers", "limpet-direct", "nats", 64, smallBody, figureCPU, 0.22, 0.15},
	{"what the promises cost: direct, 64 callers", "limpet-direct", "zmqio-bare", 64, smallBody, figureRate, 0.8, 0.9},
	{"open + call + close in one trip, 64 clients, relayed", "limpet-once", "limpet-relayed", 64, smallBody, figureRate, 0.33, 0.5},
}

// String is the bound in words.
func (f floor) String() string {
	sign := "≥"
	if !f.more() {
		sign = "≤"
	}
	return fmt.Sprintf("%s: %s of %s ÷ %s %s %g (aim %g)", f.what, f.figure, f.subject, f.base, sign, f.bound, f.aim)
}

// more says that a greater ratio is a better one.
func (f floor) more() bool { return f.figure == figureRate }

// holds says that a ratio is within the bound.
func (f floor) holds(ratio float64) bool {
	if f.more() {
		return ratio >= f.bound
	}
	return ratio <= f.bound
}

// Verdict is how one floor came out.
type Verdict struct {
	Floor  string
	Got    Spread
	Word   string // holds, MISSED, or no figure
	Remark string
}

// verdicts are all floors in their order.
func (s *Standing) verdicts() []Verdict {
	list := make([]Verdict, len(floors))
	for i, f := range floors {
		list[i] = s.verdict(f)
	}
	return list
}

func (s *Standing) verdict(f floor) Verdict {
	v := Verdict{Floor: f.String(), Word: "no figure"}
	var got []float64
	for _, c := range s.Loads {
		for _, peer := range []string{f.subject, f.base} {
			if !slices.Contains(c.Peers, peer) {
				v.Remark = peer + " was not measured"
				return v
			}
		}
		if c.Size == f.size {
			got = ratios(c.figures(f.subject, f.callers, figureOf[f.figure]), c.figures(f.base, f.callers, figureOf[f.figure]))
		}
	}
	if len(got) == 0 {
		v.Remark = "this load was not measured"
		return v
	}
	v.Got, v.Word = spreadOf(got), "MISSED"
	if f.holds(v.Got.Median) {
		v.Word = "holds"
	}
	if f.holds(v.Got.Min) != f.holds(v.Got.Max) {
		v.Remark = "the spread crosses the bound"
	}
	return v
}

// hold prints every floor beside its measured ratio. With --check a missed one is
// an error; one without a figure is none.
func (s *Standing) hold(o *options, out io.Writer) error {
	said := map[string]int{}
	missed := ""
	for _, v := range s.verdicts() {
		said[v.Word]++
		if v.Word == "MISSED" && missed == "" {
			missed = v.Floor
		}
		fmt.Fprintf(out, "%-9s  %-18s  %s%s\n", v.Word, v.ratio(), v.Floor, v.remark())
	}
	fmt.Fprintf(out, "\n%d hold, %d missed, %d without a figure\n", said["holds"], said["MISSED"], said["no figure"])
	if o.check && missed != "" {
		return fmt.Errorf("%w: %d floors, the first: %s", errMissed, said["MISSED"], missed)
	}
	return nil
}

func (v Verdict) ratio() string {
	if v.Word == "no figure" {
		return "-"
	}
	return v.Got.text(2)
}

func (v Verdict) remark() string {
	if v.Remark == "" {
		return ""
	}
	return "  (" + v.Remark + ")"
}
