package fire

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/limpet-rpc/limpet/examples/perhit/calls"
)

// tally is the sum of all answered hits.
type tally struct {
	mu sync.Mutex // guards all fields until the last hit has been entered

	hits, calls, lost, rightAfter int
	kinds                         map[string]*kindTally
	sessions                      map[string]bool
	threads                       map[calls.Place]bool
	processes                     map[int]int // hits by process
	problems                      []string    // the first few
	wrong                         int
	took                          []time.Duration
}

// kindTally is the line of one kind of hit.
type kindTally struct {
	right, failed, lost, wrong int // failed: as it should
	took                       []time.Duration
}

const maxProblems = 10

func newTally() *tally {
	return &tally{
		kinds: make(map[string]*kindTally), sessions: make(map[string]bool),
		threads: make(map[calls.Place]bool), processes: make(map[int]int),
	}
}

// enter counts a settled hit and returns how many there are now.
func (t *tally) enter(h hit) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hits++
	t.calls += h.answer.Calls
	t.took = append(t.took, h.took)
	if id := h.answer.Session; id != "" {
		if t.sessions[id] && h.problem == "" {
			h.problem = fmt.Sprintf("session %s has served another hit before", id)
		}
		t.sessions[id] = true
	}
	if h.answer.PID != 0 {
		t.processes[h.answer.PID]++
		t.threads[calls.Place{PID: h.answer.PID, Thread: h.answer.Thread}] = true
	}
	t.enterKind(h)
	return t.hits
}

// enterKind files the hit under its kind; the caller holds mu.
func (t *tally) enterKind(h hit) {
	k := t.kinds[h.kind.name]
	if k == nil {
		k = &kindTally{}
		t.kinds[h.kind.name] = k
	}
	k.took = append(k.took, h.took)
	switch {
	case h.lost:
		k.lost++
		t.lost++
		return
	case h.problem != "":
		k.wrong++
		t.wrong++
		if len(t.problems) < maxProblems {
			t.problems = append(t.problems, fmt.Sprintf("%s: %s", h.kind.name, h.problem))
		}
		return
	case h.kind.fails:
		k.failed++
	default:
		k.right++
	}
	if h.after {
		t.rightAfter++
	}
}

// verdict is an error that lists what was wrong.
func (t *tally) verdict() error {
	if t.wrong == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d hits were not answered right:\n  %s", t.wrong, t.hits, strings.Join(t.problems, "\n  "))
}

// summarize writes the table of kinds and the sums.
func (t *tally) summarize(out io.Writer, took time.Duration) {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, k *kindTally) {
		slices.Sort(k.took)
		_, _ = fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\t\n", name, len(k.took), k.right, k.failed, k.lost, k.wrong,
			millis(percentile(k.took, 50)), millis(percentile(k.took, 90)), millis(percentile(k.took, 99)), millis(percentile(k.took, 100)))
	}
	_, _ = fmt.Fprint(table, "\nscript\thits\tright\tfailed as it should\tlost with the worker\twrong\tp50 ms\tp90 ms\tp99 ms\tmax ms\t\n")
	all := kindTally{took: t.took}
	for _, name := range slices.Sorted(maps.Keys(t.kinds)) {
		k := t.kinds[name]
		all.right, all.failed, all.lost, all.wrong = all.right+k.right, all.failed+k.failed, all.lost+k.lost, all.wrong+k.wrong
		row(name, k)
	}
	row("all", &all)
	_ = table.Flush()

	_, _ = fmt.Fprintf(out, "\n%d hits in %.1f s, %d calls in %d sessions, on %d OS threads of %d processes (%s)\n",
		t.hits, took.Seconds(), t.calls, len(t.sessions), len(t.threads), len(t.processes), t.hitsByProcess())
}

func (t *tally) hitsByProcess() string {
	parts := make([]string, 0, len(t.processes))
	for _, pid := range slices.Sorted(maps.Keys(t.processes)) {
		parts = append(parts, fmt.Sprintf("%d: %d hits", pid, t.processes[pid]))
	}
	return strings.Join(parts, ", ")
}

// percentile is the smallest of the sorted times that p percent of them do not
// exceed; zero of none.
func percentile(sorted []time.Duration, p int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max((len(sorted)*p+99)/100, 1)-1]
}

func millis(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }
