package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/limpet-rpc/limpet/broker/admin"
	"github.com/limpet-rpc/limpet/broker/core"
)

// rowsMost is how many sessions, queue places and broadcasts are shown unless
// all are asked for.
const rowsMost = 20

// lostRecent is how long a lost node is worth an alert.
const lostRecent = 10 * time.Minute

// view writes a status for people.
type view struct{ all bool }

func (v *view) write(w io.Writer, page *admin.Page) {
	st := &page.Status
	for _, a := range alerts(st) {
		fmt.Fprintln(w, "ALERT    "+plain(a))
	}
	fmt.Fprintf(w, "broker   %s, %s, up %s, epoch %d, %s\n",
		plain(st.Name), plain(st.Program), span(st.Uptime), st.Epoch, many(st.Clients, "client"))
	v.cell(w, page.Cell)
	v.pools(w, st)
	v.nodes(w, st)
	v.sizes(w, st)
	v.sessions(w, st)
	v.queue(w, st)
	v.casts(w, st)
	v.lost(w, st)
}

// electionsShown is how many of a cell's last changes are shown.
const electionsShown = 5

// cell shows who stands by for the broker, and how it came to be master.
func (v *view) cell(w io.Writer, c *admin.Cell) {
	if c == nil {
		return
	}
	fmt.Fprintf(w, "cell     %s, %s of epoch %d, limit %s, %s", plain(c.Dir), plain(c.Role), c.Epoch, span(c.Limit), many(len(c.Candidates), "candidate"))
	if c.Votes > 0 {
		fmt.Fprintf(w, ", accused by %d of %d", c.Votes, c.Voters)
	}
	fmt.Fprintln(w)
	t := newTable(w, "CANDIDATE", "PROCESS", "PROGRAM", "IS")
	for _, p := range c.Candidates {
		is := "standing by"
		if p.Master {
			is = "master"
		}
		t.row(p.ID, p.PID, p.Program, is)
	}
	t.end("")
	past := c.Elections
	if !v.all {
		past = past[max(0, len(past)-electionsShown):]
	}
	t = newTable(w, "AGO", "ROLE", "WAS", "ABOUT", "WHY")
	for _, e := range past {
		t.row(span(e.Ago), e.To, e.From, e.About, e.Why)
	}
	t.end("")
}

// alerts is what is wrong, the broker first.
func alerts(st *core.Status) []string {
	var all []string
	if st.Recovering {
		all = append(all, "the broker is recovering: it waits for nodes to come back after its start")
	}
	for i := range st.Nodes {
		switch n := &st.Nodes[i]; n.State {
		case "alive", "draining":
		default:
			all = append(all, fmt.Sprintf("node %s (%s, process %d) is %s: silent for %s, %s",
				n.Name, n.Host, n.PID, n.State, span(n.Silent), many(n.Open, "session")))
		}
	}
	all = append(all, lostSlots(st)...)
	for i := range st.Lost {
		if l := &st.Lost[i]; l.Ago < lostRecent.Seconds() && l.Sessions > 0 {
			all = append(all, fmt.Sprintf("node %s (%s, process %d) was lost %s ago, with %s: %s",
				l.Name, l.Host, l.PID, span(l.Ago), many(l.Sessions, "session"), l.Why))
		}
	}
	for i := range st.Pools {
		switch p := &st.Pools[i]; {
		case p.Room > 0 && p.Waiting >= p.Room-p.Room/8: // the rest is kept for clients that have none waiting
			all = append(all, fmt.Sprintf("pool %s: the queue is full, %d of %d places", p.Pool, p.Waiting, p.Room))
		case p.Nodes == 0 && p.Waiting > 0:
			all = append(all, fmt.Sprintf("pool %s: %d wait, and no node serves it", p.Pool, p.Waiting))
		}
	}
	return all
}

// lostSlots are the nodes whose slots are held by handlers that hang.
func lostSlots(st *core.Status) (all []string) {
	for i := range st.Nodes {
		if n := &st.Nodes[i]; n.Quarantined > 0 {
			all = append(all, fmt.Sprintf("node %s (%s, process %d) has %s in quarantine, held by calls that hang: limpet inspect %s",
				n.Name, n.Host, n.PID, many(n.Quarantined, "slot"), n.Name))
		}
	}
	return all
}

func (v *view) pools(w io.Writer, st *core.Status) {
	t := newTable(w, "POOL", "NODES", "SLOTS", "OPEN", "OFFERED", "QUARANTINED", "FREE", "WAITING", "LONGEST WAIT", "POLICY")
	for i := range st.Pools {
		p := &st.Pools[i]
		longest := "-"
		if p.Waiting > 0 {
			longest = span(p.Longest)
		}
		t.row(p.Pool, p.Nodes, p.Slots, p.Open, p.Offered, p.Quarantined, p.Free, p.Waiting, longest, p.Policy)
	}
	t.end("no pools: no node has registered")
}

func (v *view) nodes(w io.Writer, st *core.Status) {
	t := newTable(w, "NODE", "STATE", "SILENT", "LOOP LATE", "SESSIONS", "SLOTS", "HOST", "PROCESS", "UP", "POOLS", "LABELS", "SAYS")
	for i := range st.Nodes {
		n := &st.Nodes[i]
		t.row(n.Name, n.State, span(n.Silent), span(n.LoopLate), n.Open, n.Slots, n.Host, n.PID, span(n.Up),
			strings.Join(n.Pools, ","), labels(n.Labels), labels(n.Values))
	}
	t.end("")
}

// sizes shows the pools that grow and shrink, and why they did last.
func (v *view) sizes(w io.Writer, st *core.Status) {
	t := newTable(w, "SIZED", "NODE", "SLOTS", "LEAST", "MOST", "WAS", "AGO", "WHY")
	for i := range st.Nodes {
		n := &st.Nodes[i]
		for _, s := range n.Sizes {
			was, ago := "-", "-"
			if s.Why != "" {
				was, ago = fmt.Sprint(s.Was), span(s.Ago)
			}
			t.row(s.Pool, n.Name, s.Slots, s.Least, s.Most, was, ago, s.Why)
		}
	}
	t.end("")
}

func (v *view) sessions(w io.Writer, st *core.Status) {
	open := 0
	for i := range st.Pools {
		open += st.Pools[i].Open
	}
	t := newTable(w, "SESSION", "POOL", "NODE", "WORKER", "CLIENT", "AGE")
	shown := v.bound(len(st.Sessions))
	for i := range shown {
		s := &st.Sessions[i]
		t.row(s.Session, s.Pool, s.NodeName, s.Worker, s.Client, span(s.Age))
	}
	t.end("")
	v.more(w, max(open, len(st.Sessions))-shown, len(st.Sessions)-shown, "sessions")
}

func (v *view) queue(w io.Writer, st *core.Status) {
	t := newTable(w, "WAITING", "POOL", "PLACE", "PRIORITY", "STATE", "FOR")
	shown := v.bound(len(st.Queue))
	for i := range shown {
		q := &st.Queue[i]
		place := "-"
		if q.Place > 0 {
			place = fmt.Sprint(q.Place)
		}
		t.row(q.Client, q.Pool, place, q.Priority, q.State, span(q.Waited))
	}
	t.end("")
	v.more(w, len(st.Queue)-shown, len(st.Queue)-shown, "that wait")
}

// casts shows the broadcasts that are under way, and those whose clients have
// not taken all of their answers.
func (v *view) casts(w io.Writer, st *core.Status) {
	t := newTable(w, "BROADCAST", "POOL", "CLIENT", "FOR", "ANSWERED", "OTHERWISE", "OF", "WAITS FOR")
	shown := v.bound(len(st.Casts))
	for i := range shown {
		b := &st.Casts[i]
		of := many(b.Members, "node")
		if b.Sessions {
			of = many(b.Members, "session")
		}
		t.row(b.Method, b.Pool, b.Client, span(b.Age), b.Answered, b.Other, of, waits(b))
	}
	t.end("")
	v.more(w, len(st.Casts)-shown, len(st.Casts)-shown, "broadcasts")
}

// waitsShown is how many nodes are named that a broadcast waits for.
const waitsShown = 4

func waits(b *core.CastStatus) string {
	switch n := len(b.WaitsFor); {
	case n == 0:
		return "its client"
	case n > waitsShown:
		return strings.Join(b.WaitsFor[:waitsShown], ",") + ",..."
	}
	return strings.Join(b.WaitsFor, ",")
}

func (v *view) lost(w io.Writer, st *core.Status) {
	t := newTable(w, "LOST NODE", "AGO", "SESSIONS", "HOST", "PROCESS", "WHY")
	for i := range st.Lost {
		l := &st.Lost[i]
		t.row(l.Name, span(l.Ago), l.Sessions, l.Host, l.PID, l.Why)
	}
	t.end("")
}

func (v *view) bound(n int) int {
	if v.all {
		return n
	}
	return min(n, rowsMost)
}

// more says how many are not shown, and how to see those that are known here.
func (v *view) more(w io.Writer, left, known int, what string) {
	switch {
	case left <= 0:
	case known > 0:
		fmt.Fprintf(w, "  and %d more %s; --all shows them\n", left, what)
	default:
		fmt.Fprintf(w, "  and %d more %s\n", left, what)
	}
}

// table writes aligned columns; one without rows writes nothing.
type table struct {
	w    io.Writer
	tabs *tabwriter.Writer
	head []string
	rows int
}

func newTable(w io.Writer, head ...string) *table {
	return &table{w: w, tabs: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0), head: head}
}

func (t *table) row(cells ...any) {
	if t.rows == 0 {
		fmt.Fprintln(t.w)
		fmt.Fprintln(t.tabs, strings.Join(t.head, "\t"))
	}
	t.rows++
	text := make([]string, len(cells))
	for i, c := range cells {
		text[i] = plain(fmt.Sprint(c))
	}
	fmt.Fprintln(t.tabs, strings.TrimRight(strings.Join(text, "\t"), "\t"))
}

func (t *table) end(empty string) {
	if t.rows == 0 && empty != "" {
		fmt.Fprintf(t.w, "\n%s\n", empty)
	}
	_ = t.tabs.Flush() // what it writes to is a buffer
}

// span is a time in seconds as people say it, in at most two units.
func span(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	}
}

func labels(m map[string]string) string {
	all := make([]string, 0, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		all = append(all, k+"="+m[k])
	}
	return strings.Join(all, ",")
}
