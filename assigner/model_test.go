package assigner

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/session"
)

// model does what Table does by looking at everything each time. It shares no
// code with it: the rules are written down here once more.
type model struct {
	policy Policy
	by     map[string]Policy // pools' own
	limits Limits
	nodes  []*modelNode // in the order of joining
	known  map[string]bool
	queue  []*modelWaiter // in the order of asking
	late   []*modelWaiter
	turns  map[string]map[uuid.UUID]int
	served map[modelLane]time.Time
	count  int
}

type modelNode struct {
	id       session.NodeID
	labels   map[string]string
	draining bool
	away     bool
	seats    map[string]*modelSeat
}

type modelSeat struct {
	serves           bool
	slots, used, use int
	held             time.Time
	value            string
}

type modelWaiter struct {
	Request
	asked    time.Time
	seq      int
	returned bool
}

type modelLane struct {
	pool     string
	client   uuid.UUID
	priority int
}

func newModel(p Policy, l Limits) *model {
	return &model{
		policy: p, by: map[string]Policy{}, limits: l, known: map[string]bool{}, turns: map[string]map[uuid.UUID]int{}, served: map[modelLane]time.Time{},
	}
}

func (m *model) node(id session.NodeID) *modelNode {
	for _, n := range m.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

func (m *model) join(o Node) {
	n := m.node(o.ID)
	if n == nil {
		n = &modelNode{id: o.ID, seats: map[string]*modelSeat{}}
		m.nodes = append(m.nodes, n)
	}
	n.labels, n.draining, n.away = o.Labels, o.Draining, o.Away
	for pool := range o.Slots {
		m.known[pool] = true
		if n.seats[pool] == nil {
			n.seats[pool] = &modelSeat{}
		}
	}
	defer m.desert()
	for pool, s := range n.seats {
		s.slots, s.serves, s.value = o.Slots[pool], false, o.Values[pool]
		if _, ok := o.Slots[pool]; ok {
			s.serves = true
		} else if s.used == 0 {
			delete(n.seats, pool)
		}
	}
}

func (m *model) leave(id session.NodeID) {
	m.nodes = slices.DeleteFunc(m.nodes, func(n *modelNode) bool { return n.id == id })
	m.desert()
}

// desert gives pools whose last node has left the policy that is everybody's.
func (m *model) desert() {
	for pool := range m.by {
		if !slices.ContainsFunc(m.nodes, func(n *modelNode) bool { return n.seats[pool] != nil }) {
			delete(m.by, pool)
		}
	}
}

func (m *model) policyOf(pool string) Policy {
	if p, declared := m.by[pool]; declared {
		return p
	}
	return m.policy
}

func hasAll(have, asked map[string]string) bool {
	for k, v := range asked {
		if have[k] != v {
			return false
		}
	}
	return true
}

func (m *model) ask(now time.Time, r Request) error {
	waiting, own, nodes, seats, suited := 0, 0, 0, 0, 0
	for _, w := range slices.Concat(m.queue, m.late) {
		if w.OpenKey == r.OpenKey {
			return ErrDuplicate
		}
	}
	for _, w := range m.queue {
		if w.Pool == r.Pool {
			waiting++
			if w.Client == r.Client {
				own++
			}
		}
	}
	for _, n := range m.nodes {
		if n.seats[r.Pool] != nil {
			seats++
		}
		if s := n.seats[r.Pool]; s != nil && s.serves {
			nodes++
			if hasAll(n.labels, r.Labels) {
				suited++
			}
		}
	}
	switch {
	case !m.known[r.Pool]:
		return ErrPoolUnknown
	case nodes > 0 && suited == 0 && len(r.Labels) > 0:
		return ErrNoSuchLabels
	case r.Want != "" && seats > 0 && m.policyOf(r.Pool) != Equal:
		return ErrNoValues
	case own >= m.limits.QueuePerClient, own > 0 && waiting >= m.limits.Queue-m.limits.Queue/8, waiting >= m.limits.Queue:
		return ErrQueueFull
	}
	m.enqueue(&modelWaiter{Request: r, asked: now})
	return nil
}

func (m *model) enqueue(w *modelWaiter) {
	m.count++
	w.seq = m.count
	if m.turns[w.Pool] == nil {
		m.turns[w.Pool] = map[uuid.UUID]int{}
	}
	if _, waits := m.turns[w.Pool][w.Client]; !waits {
		m.turns[w.Pool][w.Client] = m.count
	}
	m.queue = append(m.queue, w)
}

// remove takes w out of the queue and forgets its client with the last one.
func (m *model) remove(w *modelWaiter) {
	m.queue = slices.DeleteFunc(m.queue, func(o *modelWaiter) bool { return o == w })
	for _, o := range m.queue {
		if o.Pool == w.Pool && o.Client == w.Client {
			return
		}
	}
	delete(m.turns[w.Pool], w.Client)
	for p := -8; p <= 8; p++ {
		delete(m.served, modelLane{w.Pool, w.Client, p})
	}
}

func (m *model) expire(now time.Time) {
	for _, w := range slices.Clone(m.queue) {
		if !w.Deadline.IsZero() && !w.Deadline.After(now) {
			m.remove(w)
			m.late = append(m.late, w)
		}
	}
}

// ordered is the queue of a pool, the first to be served first.
func (m *model) ordered(pool string) []*modelWaiter {
	type ranked struct {
		*modelWaiter
		band, turn int
	}
	var all []ranked
	for _, w := range m.queue {
		if w.Pool != pool {
			continue
		}
		since, turn := w.asked, m.turns[pool][w.Client]
		if last := m.served[modelLane{pool, w.Client, w.Priority}]; !w.returned && last.After(since) {
			since = last
		}
		if w.returned {
			turn = 0
		}
		// far enough after the origin that rounding down is division
		step := int((since.Sub(start) + 1000*m.limits.Aging) / m.limits.Aging)
		all = append(all, ranked{w, step - w.Priority, turn})
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i], all[j]
		if a.band != b.band {
			return a.band < b.band
		}
		if a.turn != b.turn {
			return a.turn < b.turn
		}
		return a.seq < b.seq
	})
	out := make([]*modelWaiter, len(all))
	for i, r := range all {
		out[i] = r.modelWaiter
	}
	return out
}

func (m *model) mayGive(n *modelNode, w *modelWaiter, now time.Time) bool {
	s := n.seats[w.Pool]
	return s != nil && s.serves && !n.draining && !n.away && s.used < s.slots && !s.held.After(now) && hasAll(n.labels, w.Labels) &&
		(w.Want == "" || m.policyOf(w.Pool) == Equal && s.value == w.Want)
}

// check follows the table through its grants for one pool: the right request
// each time, on a node that may give and than which none is better.
func (m *model) check(now time.Time, pool string, gs []Grant) error {
	for {
		var first *modelWaiter
		for _, w := range m.ordered(pool) {
			if slices.ContainsFunc(m.nodes, func(n *modelNode) bool { return m.mayGive(n, w, now) }) {
				first = w
				break
			}
		}
		switch {
		case first == nil && len(gs) == 0:
			return nil
		case first == nil:
			return fmt.Errorf("%s was granted, but nothing could be", name(gs[0].Request))
		case len(gs) == 0:
			return fmt.Errorf("%s could be served and was not", name(first.Request))
		case first.OpenKey != gs[0].OpenKey:
			return fmt.Errorf("%s was granted, but %s was first", name(gs[0].Request), name(first.Request))
		}
		n := m.node(gs[0].Node)
		if n == nil || !m.mayGive(n, first, now) {
			return fmt.Errorf("%s was given node %v, which may not give", name(first.Request), gs[0].Node)
		}
		for _, other := range m.nodes {
			if m.mayGive(other, first, now) && m.better(pool, other, n) {
				return fmt.Errorf("%s was given node %v, but %v is better", name(first.Request), n.id, other.id)
			}
		}
		if !first.returned {
			m.count++
			m.turns[pool][first.Client] = m.count
			m.served[modelLane{pool, first.Client, first.Priority}] = now
		}
		m.remove(first)
		m.count++
		n.seats[pool].used++
		n.seats[pool].use = m.count
		gs = gs[1:]
	}
}

func load(slots, used int) float64 { return float64(used) / float64(slots) }

// hostLoad is the load of the host of a node.
func (m *model) hostLoad(pool string, of *modelNode) float64 {
	slots, used := 0, 0
	for _, n := range m.nodes {
		host, labelled := of.labels[HostLabel]
		if s := n.seats[pool]; s != nil && (n == of || labelled && n.labels[HostLabel] == host) {
			slots += s.slots
			used += s.used
		}
	}
	return load(slots, used)
}

// better tells whether the policy must take a rather than b.
func (m *model) better(pool string, a, b *modelNode) bool {
	x, y := a.seats[pool], b.seats[pool]
	lx, ly := load(x.slots, x.used), load(y.slots, y.used)
	vx, okx := modelNumber(x.value)
	vy, oky := modelNumber(y.value)
	switch p := m.policyOf(pool); p {
	case Lowest, Highest:
		if p == Highest {
			vx, vy = -vx, -vy
		}
		if okx && oky && vx != vy {
			return vx < vy
		}
		return okx && !oky || okx == oky && x.use < y.use
	case LeastLoaded, Equal: // and what others leave equal: below
	case RoundRobin:
		return x.use < y.use
	case Pack:
		return lx > ly
	case Spread:
		hx, hy := m.hostLoad(pool, a), m.hostLoad(pool, b)
		sameHost := a.labels[HostLabel] != "" && a.labels[HostLabel] == b.labels[HostLabel]
		return hx < hy || sameHost && (lx < ly || lx == ly && x.use < y.use)
	}
	return lx < ly || lx == ly && x.use < y.use
}

// modelNumber reads the few values that a run uses.
func modelNumber(value string) (float64, bool) {
	switch value {
	case "1", "2.5", "-3":
		return map[string]float64{"1": 1, "2.5": 2.5, "-3": -3}[value], true
	}
	return 0, false
}

// run is one random history of a table beside its model.
type run struct {
	t      *testing.T
	chance *rand.Rand
	tab    *Table
	model  *model
	now    time.Time
	asked  int
	out    []Grant                    // slots in use by grants
	ended  map[session.OpenKey]string // how each request ended
}

var pools = []string{"p", "q", "r"}

func TestAgainstModel(t *testing.T) {
	seeds := uint64(2000)
	if testing.Short() {
		seeds = 300
	}
	for seed := range seeds {
		chance := rand.New(rand.NewPCG(seed, 1))
		l := Limits{Queue: 8 + chance.IntN(30), QueuePerClient: 1 + chance.IntN(20), Aging: 2 * time.Second}
		l = l.withDefaults()
		p := Policy(seed % uint64(len(policyNames)))
		r := &run{t: t, chance: chance, tab: New(p, l), model: newModel(p, l), now: start, ended: map[session.OpenKey]string{}}
		r.tab.clock.at(start)
		for range 80 {
			r.step()
			r.grants()
			r.compare()
			if t.Failed() {
				t.Fatalf("seed %d, policy %v", seed, p)
			}
		}
		r.finish()
		if t.Failed() {
			t.Fatalf("seed %d, policy %v, at the end", seed, p)
		}
	}
}

func (r *run) step() {
	r.now = r.now.Add(time.Duration(r.chance.IntN(600)) * time.Millisecond)
	id := session.NodeID(r.chance.IntN(5) + 1)
	pool := pools[r.chance.IntN(len(pools))]
	switch op := r.chance.IntN(40); {
	case op < 18:
		for range r.chance.IntN(4) {
			r.ask()
		}
	case op < 24:
		r.free()
	case op < 26:
		r.decline()
	case op < 29:
		r.withdraw()
	case op < 33:
		r.join(id)
	case op == 33:
		r.leave(id)
	case op == 34 && r.model.node(id) != nil:
		r.tab.Take(id, pool)
		r.model.take(id, pool)
	case op == 35:
		r.hold(id, pool, r.now.Add(time.Duration(r.chance.IntN(3000))*time.Millisecond))
	case op == 36 && r.tab.Forget(pool):
		delete(r.model.known, pool)
	case op == 37:
		r.expired()
	case op == 39:
		r.value(id, pool, r.oneValue())
		r.policy(pool, Policy(r.chance.IntN(len(policyNames))))
	case op == 38:
		r.withdrawClient(key(r.chance.IntN(6), 0).Client)
	}
}

func (m *model) take(id session.NodeID, pool string) {
	n := m.node(id)
	m.known[pool] = true
	if n.seats[pool] == nil {
		n.seats[pool] = &modelSeat{}
	}
	n.seats[pool].used++
}

// oneValue is what a node says or an open wants; mostly nothing.
func (r *run) oneValue() string {
	return []string{"", "", "", "x", "1", "2.5", "-3"}[r.chance.IntN(7)]
}

func (r *run) value(id session.NodeID, pool, value string) {
	r.tab.SetValue(id, pool, value)
	if n := r.model.node(id); n != nil && n.seats[pool] != nil {
		n.seats[pool].value = value
	}
}

func (r *run) policy(pool string, p Policy) {
	r.tab.SetPolicy(pool, p)
	r.model.by[pool] = p
	r.model.desert()
}

func (r *run) labels() map[string]string {
	l := map[string]string{}
	for _, k := range []string{"a", "b"} {
		if r.chance.IntN(5) == 0 {
			l[k] = "1"
		}
	}
	return l
}

func (r *run) ask() {
	r.asked++
	q := ask(r.chance.IntN(6), r.asked)
	if r.chance.IntN(20) == 0 {
		q = ask(r.chance.IntN(6), r.chance.IntN(r.asked)) // perhaps a repeated one
		if r.ended[q.OpenKey] != "" {
			return
		}
	}
	q.Pool, q.Labels = pools[r.chance.IntN(len(pools))], r.labels()
	q.Priority = r.chance.IntN(7) - 3
	if r.chance.IntN(3) == 0 {
		q.Want = r.oneValue()
	}
	if r.chance.IntN(3) == 0 {
		q.Deadline = r.now.Add(time.Duration(r.chance.IntN(8000)) * time.Millisecond)
	}
	got, want := r.tab.Ask(r.now, q), r.model.ask(r.now, q)
	if !errors.Is(got, want) {
		r.t.Errorf("ask %s: %v, want %v", name(q), got, want)
	}
}

func (r *run) end(rs []Request, how string) {
	for _, q := range rs {
		if before := r.ended[q.OpenKey]; before != "" {
			r.t.Errorf("%s is %s, but was %s", name(q), how, before)
		}
		r.ended[q.OpenKey] = how
	}
}

func (r *run) grants() {
	r.model.expire(r.now)
	for _, n := range r.model.nodes {
		for _, s := range n.seats {
			if !s.held.After(r.now) {
				s.held = time.Time{}
			}
		}
	}
	gs := r.tab.Grants(r.now)
	r.out = append(r.out, gs...)
	r.end(granted(gs), "granted")
	for _, pool := range pools {
		own := slices.DeleteFunc(slices.Clone(gs), func(g Grant) bool { return g.Pool != pool })
		if err := r.model.check(r.now, pool, own); err != nil {
			r.t.Errorf("pool %s: %v", pool, err)
		}
	}
	if again := r.tab.Grants(r.now); len(again) != 0 {
		r.t.Errorf("nothing changed, but %d more were granted", len(again))
	}
}

// pick takes one of the slots that grants have in use.
func (r *run) pick() (Grant, bool) {
	if len(r.out) == 0 {
		return Grant{}, false
	}
	i := r.chance.IntN(len(r.out))
	g := r.out[i]
	r.out = slices.Delete(r.out, i, i+1)
	if !r.tab.Free(r.now, g.Node, g.Pool) {
		r.t.Errorf("the slot of %s was not in use", name(g.Request))
	}
	n := r.model.node(g.Node)
	s := n.seats[g.Pool]
	s.used--
	if s.used == 0 && !s.serves {
		delete(n.seats, g.Pool)
		r.model.desert()
	}
	return g, true
}

func (r *run) free() { r.pick() }

func (r *run) decline() {
	g, ok := r.pick()
	if !ok {
		return
	}
	r.hold(g.Node, g.Pool, r.now.Add(time.Second))
	r.requeue(g)
}

func (r *run) requeue(g Grant) {
	if err := r.tab.Requeue(r.now, g); err != nil {
		if !errors.Is(err, ErrPoolUnknown) || r.model.known[g.Pool] {
			r.t.Errorf("requeue %s: %v", name(g.Request), err)
		}
		return
	}
	delete(r.ended, g.OpenKey)
	r.model.enqueue(&modelWaiter{Request: g.Request, asked: g.asked, returned: true})
}

func (r *run) hold(id session.NodeID, pool string, until time.Time) {
	r.tab.Hold(id, pool, until)
	if n := r.model.node(id); n != nil && n.seats[pool] != nil && until.After(n.seats[pool].held) {
		n.seats[pool].held = until
	}
}

func (r *run) withdraw() {
	if len(r.model.queue) == 0 {
		return
	}
	w := r.model.queue[r.chance.IntN(len(r.model.queue))]
	r.model.remove(w)
	if !r.tab.Withdraw(w.OpenKey) || r.tab.Withdraw(w.OpenKey) {
		r.t.Errorf("%s was not waiting, or twice", name(w.Request))
	}
	r.end([]Request{w.Request}, "withdrawn")
}

func (r *run) withdrawClient(id uuid.UUID) {
	want := 0
	for _, w := range slices.Clone(r.model.queue) {
		if w.Client == id {
			r.model.remove(w)
			want++
		}
	}
	before := len(r.model.late)
	r.model.late = slices.DeleteFunc(r.model.late, func(w *modelWaiter) bool { return w.Client == id })
	gone := r.tab.WithdrawClient(id)
	if len(gone) != want+before-len(r.model.late) {
		r.t.Errorf("%d withdrawn with their client, want %d", len(gone), want)
	}
	r.end(gone, "withdrawn")
}

func (r *run) join(id session.NodeID) {
	n := Node{ID: id, Name: id.String(), Labels: r.labels(), Slots: map[string]int{}, Values: map[string]string{}}
	n.Draining, n.Away = r.chance.IntN(6) == 0, r.chance.IntN(6) == 0
	if r.chance.IntN(2) == 0 {
		n.Labels[HostLabel] = string(rune('x' + r.chance.IntN(2)))
	}
	for _, pool := range pools {
		if r.chance.IntN(3) > 0 {
			n.Slots[pool], n.Values[pool] = r.chance.IntN(4), r.oneValue()
		}
	}
	r.tab.Join(n)
	r.model.join(n)
}

// leave takes a node away; what it was given is asked again, or is over.
func (r *run) leave(id session.NodeID) {
	if left := r.tab.Leave(id); left != (r.model.node(id) != nil) {
		r.t.Errorf("leave of %v: %v", id, left)
	}
	r.model.leave(id)
	for _, g := range r.out {
		if g.Node == id && r.chance.IntN(2) == 0 {
			r.requeue(g)
		}
	}
	r.out = slices.DeleteFunc(r.out, func(g Grant) bool { return g.Node == id })
}

func (r *run) expired() {
	r.model.expire(r.now)
	got := r.tab.Expired(r.now)
	want := make([]Request, 0, len(r.model.late))
	sort.SliceStable(r.model.late, func(i, j int) bool {
		a, b := r.model.late[i], r.model.late[j]
		return a.Deadline.Before(b.Deadline) || a.Deadline.Equal(b.Deadline) && a.seq < b.seq
	})
	for _, w := range r.model.late {
		want = append(want, w.Request)
	}
	if names(got) != names(want) {
		r.t.Errorf("expired %s, want %s", names(got), names(want))
	}
	r.end(got, "expired")
	r.model.late = nil
}

// compare holds what the table shows against the model.
func (r *run) compare() {
	nodes := r.tab.Nodes()
	if len(nodes) != len(r.model.nodes) {
		r.t.Errorf("%d nodes, want %d", len(nodes), len(r.model.nodes))
	}
	for _, ns := range nodes {
		n := r.model.node(ns.ID)
		if len(ns.Pools) != len(n.seats) {
			r.t.Errorf("node %v shows %d pools, want %d", ns.ID, len(ns.Pools), len(n.seats))
		}
		for _, got := range ns.Pools {
			s := n.seats[got.Pool]
			if got.Slots != s.slots || got.Used != s.used || !got.Held.Equal(s.held) || got.Used <= got.Slots && got.Free+got.Used != got.Slots {
				r.t.Errorf("node %v: %+v, want %+v", ns.ID, got, *s)
			}
		}
	}
	for _, ps := range r.tab.Pools() {
		waiting := r.model.ordered(ps.Name)
		if ps.Waiting != len(waiting) || !r.model.known[ps.Name] {
			r.t.Errorf("pool %s shows %d waiting, want %d", ps.Name, ps.Waiting, len(waiting))
		}
		if len(waiting) > 0 {
			if place, ok := r.tab.Place(waiting[0].OpenKey); place != 1 || !ok {
				r.t.Errorf("the first of %s has place %d, %v", ps.Name, place, ok)
			}
		}
	}
}

// finish serves all who are left: in the order that Waiting told.
func (r *run) finish() {
	told := map[string]string{}
	big := Node{ID: 99, Labels: map[string]string{"a": "1", "b": "1"}, Slots: map[string]int{}}
	for _, n := range r.tab.Nodes() {
		r.leave(n.ID)
	}
	r.expired()
	for _, w := range slices.Clone(r.model.queue) { // one node says one value
		if w.Want != "" {
			r.model.remove(w)
			r.tab.Withdraw(w.OpenKey)
			r.end([]Request{w.Request}, "withdrawn")
		}
	}
	for _, ps := range r.tab.Pools() {
		told[ps.Name] = names(r.tab.Waiting(ps.Name))
		big.Slots[ps.Name] = 10_000
	}
	r.tab.Join(big)
	gs := r.tab.Grants(r.now)
	r.end(granted(gs), "granted")
	for pool, want := range told {
		own := slices.DeleteFunc(slices.Clone(gs), func(g Grant) bool { return g.Pool != pool })
		if got := names(granted(own)); got != want {
			r.t.Errorf("pool %s: served %s, told %s", pool, got, want)
		}
	}
	if len(r.tab.waiters)+len(r.tab.overdue)+r.tab.deadlines.len() != 0 {
		r.t.Errorf("%d are left in the table", len(r.tab.waiters))
	}
}
