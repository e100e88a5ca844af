package assigner

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/session"
)

// What Ask answers when it does not take a request.
var (
	// ErrPoolUnknown: no node has served that pool since it was last forgotten,
	// and none is expected to.
	ErrPoolUnknown = errors.New("no node serves this pool")
	// ErrQueueFull: the pool's queue, or the client's share of it, is full.
	ErrQueueFull = errors.New("the queue of this pool is full")
	// ErrDuplicate: a request with the same OpenKey is waiting.
	ErrDuplicate = errors.New("the same request is already waiting")
	// ErrNoSuchLabels: the pool has nodes, but none with these labels.
	ErrNoSuchLabels = errors.New("no node of this pool has these labels")
	// ErrNoValues: the request wants a value, and the pool's policy is not Equal.
	ErrNoValues = errors.New("the policy of this pool looks at no values")
)

// Limits bound the queue of every pool.
type Limits struct {
	// Queue is how many requests may wait per pool; 0 means 1024. The last
	// eighth of the places is for clients that have nothing waiting in the pool.
	Queue int
	// QueuePerClient is how many of them may be one client's; 0 means Queue.
	QueuePerClient int
	// Aging is the waiting time that is worth one step of priority; 0 means
	// 10 s, less than 0 that priorities never change.
	Aging time.Duration
}

func (l Limits) withDefaults() Limits {
	if l.Queue <= 0 {
		l.Queue = 1024
	}
	if l.QueuePerClient <= 0 || l.QueuePerClient > l.Queue {
		l.QueuePerClient = l.Queue
	}
	if l.Aging == 0 {
		l.Aging = 10 * time.Second
	}
	return l
}

// Node is what one node offers.
type Node struct {
	ID       session.NodeID
	Name     string
	Labels   map[string]string
	Slots    map[string]int    // by pool; less than 0 is taken as 0
	Draining bool              // keeps what it has, gets nothing new
	Away     bool              // likewise, as long as it cannot be reached
	Values   map[string]string // by pool, for the policies that look at one
}

// Request is one open that wants a slot.
type Request struct {
	session.OpenKey
	Pool     string
	Labels   map[string]string // the node must have all of these; not changed by anyone after Ask
	Want     string            // the node must have said this value last; empty: none is wanted. See Equal
	Priority int               // larger is sooner; taken as -8 to 8
	Deadline time.Time         // leaves the queue then; zero: waits for ever
}

// Grant gives a slot of Node to a request. The slot is in use from then on,
// until Free.
type Grant struct {
	Request
	Node   session.NodeID
	Waited time.Duration
	asked  time.Time // for Requeue
}

// Table knows the nodes, their slots and who waits for one. It is for one
// goroutine. Times are only ever compared with each other.
type Table struct {
	// fixed after New
	policy Policy
	limits Limits

	nodes   map[session.NodeID]*node
	pools   map[string]*pool
	waiters map[session.OpenKey]*waiter

	deadlines heap[*waiter]
	overdue   []*waiter // past their deadline, not yet collected by Expired
	holds     heap[*seat]
	dirty     []*pool // where something may be granted

	clock  ageing
	seq    uint64 // of asks and joins
	turns  uint64
	grants uint64
}

// ageing is the clock that priorities age by: it starts with the first time
// it is told and never goes back.
type ageing struct {
	origin, latest time.Time
}

func (a *ageing) at(now time.Time) int64 {
	if a.origin.IsZero() {
		a.origin, a.latest = now, now
	}
	if now.After(a.latest) {
		a.latest = now
	}
	return int64(a.latest.Sub(a.origin))
}

// New is an empty table.
func New(p Policy, l Limits) *Table {
	return &Table{
		policy: p, limits: l.withDefaults(),
		nodes:   map[session.NodeID]*node{},
		pools:   map[string]*pool{},
		waiters: map[session.OpenKey]*waiter{},
		deadlines: heap[*waiter]{
			before: dueBefore,
			place:  func(w *waiter) *int { return &w.deadlinePlace },
		},
		holds: heap[*seat]{
			before: func(a, b *seat) bool { return a.held.Before(b.held) },
			place:  func(s *seat) *int { return &s.holdPlace },
		},
	}
}

func dueBefore(a, b *waiter) bool {
	if !a.Deadline.Equal(b.Deadline) {
		return a.Deadline.Before(b.Deadline)
	}
	return a.seq < b.seq
}

// Join adds a node, or replaces the name, labels, slots, draining and away of a
// known one; what it has in use stays counted, and so does a Hold. A node that
// stops serving a pool keeps its used slots there until they are freed.
func (t *Table) Join(n Node) {
	known := t.nodes[n.ID]
	if known == nil {
		t.seq++
		known = &node{id: n.ID, joined: t.seq, seats: map[string]*seat{}}
		t.nodes[n.ID] = known
	}
	known.name, known.labels, known.draining, known.away = n.Name, maps.Clone(n.Labels), n.Draining, n.Away
	for _, name := range slices.Sorted(maps.Keys(n.Slots)) {
		t.seat(known, name)
	}
	for _, name := range slices.Sorted(maps.Keys(known.seats)) {
		s := known.seats[name]
		slots, serves := n.Slots[name]
		t.unplace(s)
		s.serves, s.slots, s.announced = serves, max(0, slots), false
		s.setValue(n.Values[name])
		if !serves && s.used == 0 {
			t.remove(s)
			continue
		}
		t.place(s)
	}
}

// Leave forgets a node and what it had in use; false if it is not known. Its
// pools stay known and their queues wait for another node.
func (t *Table) Leave(id session.NodeID) bool {
	n := t.nodes[id]
	if n == nil {
		return false
	}
	for _, name := range slices.Sorted(maps.Keys(n.seats)) {
		t.unplace(n.seats[name])
		t.remove(n.seats[name])
	}
	delete(t.nodes, id)
	return true
}

// Forget drops a pool that has no node and nobody waiting, so that Ask answers
// ErrPoolUnknown again; false if the pool is not known or not yet deserted.
func (t *Table) Forget(name string) bool {
	p := t.pools[name]
	if p == nil || len(p.seats) > 0 || p.waiting > 0 {
		return false
	}
	p.dirty = false
	t.dirty = slices.DeleteFunc(t.dirty, func(d *pool) bool { return d == p })
	delete(t.pools, name)
	return true
}

// Ask puts a request into its pool's queue; the next Grants may serve it.
func (t *Table) Ask(now time.Time, r Request) error {
	if t.waiters[r.OpenKey] != nil {
		return ErrDuplicate
	}
	p := t.pools[r.Pool]
	if p == nil {
		return ErrPoolUnknown
	}
	if !p.serves(r.Labels) {
		return ErrNoSuchLabels
	}
	if r.Want != "" && p.policy != Equal && len(p.seats) > 0 {
		return ErrNoValues
	}
	if t.full(p, r.Client) {
		return ErrQueueFull
	}
	t.enqueue(p, &waiter{Request: r, asked: now, since: t.clock.at(now)})
	return nil
}

// Requeue puts a grant that came to nothing (the node declined, or died before
// it accepted) back before everything else of its client and priority: its age
// is what it was, and being granted again costs its client no other turn. It is
// not bounded by Limits, since every such request was within them before, and
// does not free the slot. The only errors are ErrDuplicate and ErrPoolUnknown.
func (t *Table) Requeue(now time.Time, g Grant) error {
	if t.waiters[g.OpenKey] != nil {
		return ErrDuplicate
	}
	p := t.pools[g.Pool]
	if p == nil {
		return ErrPoolUnknown
	}
	if g.asked.IsZero() { // not made by Grants
		g.asked = now.Add(-max(0, g.Waited))
	}
	since := t.clock.at(now) - max(0, int64(now.Sub(g.asked)))
	t.enqueue(p, &waiter{Request: g.Request, asked: g.asked, since: since, returned: true})
	return nil
}

func (t *Table) full(p *pool, client uuid.UUID) bool {
	room := t.limits.Queue
	if c := p.clients[client]; c != nil {
		if c.waiting >= t.limits.QueuePerClient {
			return true
		}
		room -= t.limits.Queue / 8
	}
	return p.waiting >= room
}

func (t *Table) enqueue(p *pool, w *waiter) {
	t.seq++
	w.seq = t.seq
	w.Priority = max(-maxPriority, min(maxPriority, w.Priority))
	t.waiters[w.OpenKey] = w
	if !w.Deadline.IsZero() {
		t.deadlines.push(w)
	}
	p.enter(w, lineKey(w.Labels, w.Want), t.turn)
	t.touch(p)
}

func (t *Table) turn() uint64 {
	t.turns++
	return t.turns
}

// Withdraw takes a request out of the queue; false if it is not waiting. It is
// never granted and never expires after that.
func (t *Table) Withdraw(k session.OpenKey) bool {
	w := t.waiters[k]
	if w == nil {
		return false
	}
	t.forget(w)
	return true
}

// WithdrawClient takes every request of a client out of all queues and
// returns them, the oldest first.
func (t *Table) WithdrawClient(id uuid.UUID) []Request {
	var gone []*waiter
	for _, p := range t.pools {
		if p.clients[id] != nil {
			gone = p.appendAllOf(id, gone)
		}
	}
	for _, w := range t.overdue {
		if w.Client == id {
			gone = append(gone, w)
		}
	}
	sort.Slice(gone, func(i, j int) bool { return gone[i].seq < gone[j].seq })
	for _, w := range gone {
		t.forget(w)
	}
	return requests(gone)
}

// forget removes a waiter wherever it is.
func (t *Table) forget(w *waiter) {
	delete(t.waiters, w.OpenKey)
	t.deadlines.drop(w)
	if w.overdue {
		t.overdue = slices.DeleteFunc(t.overdue, func(o *waiter) bool { return o == w })
		return
	}
	t.pools[w.Pool].leave(w)
}

// Grants gives out as many slots as can be given now, in the order of service.
// Every slot given is in use until Free. When nothing has changed since the
// last call, it costs nothing.
func (t *Table) Grants(now time.Time) []Grant {
	at := t.clock.at(now)
	t.release(now)
	t.expire(now)
	if len(t.dirty) == 0 {
		return nil
	}
	var out []Grant
	for _, p := range t.dirty {
		for l := p.next(); l != nil; l = p.next() {
			s := p.best(l)
			if s == nil {
				p.park(l)
				continue
			}
			out = append(out, t.grant(now, at, l.lanes.top(), s))
		}
		p.dirty = false
	}
	clear(t.dirty)
	t.dirty = t.dirty[:0]
	return out
}

func (t *Table) grant(now time.Time, at int64, ln *lane, s *seat) Grant {
	w, c := ln.first, ln.client
	if !w.returned {
		c.turn = t.turn()
		c.served[w.Priority+maxPriority] = at
	}
	t.forget(w)
	return t.give(w.Request, w.asked, now, s)
}

// release ends the holds that are over.
func (t *Table) release(now time.Time) {
	for t.holds.len() > 0 && !t.holds.top().held.After(now) {
		s := t.holds.top()
		t.unplace(s)
		t.holds.drop(s)
		t.place(s)
	}
}

// expire takes what is past its deadline out of the queues.
func (t *Table) expire(now time.Time) {
	for t.deadlines.len() > 0 && !t.deadlines.top().Deadline.After(now) {
		w := t.deadlines.top()
		t.deadlines.drop(w)
		t.pools[w.Pool].leave(w)
		w.overdue = true
		t.overdue = append(t.overdue, w)
	}
}

// Expired removes and returns the requests whose deadline is at or before now,
// the earliest deadline first. Grants never serves those, called or not.
func (t *Table) Expired(now time.Time) []Request {
	t.clock.at(now)
	t.expire(now)
	if len(t.overdue) == 0 {
		return nil
	}
	gone := t.overdue
	t.overdue = nil
	slices.SortFunc(gone, func(a, b *waiter) int {
		return cmp.Or(a.Deadline.Compare(b.Deadline), cmp.Compare(a.seq, b.seq))
	})
	for _, w := range gone {
		delete(t.waiters, w.OpenKey)
	}
	return requests(gone)
}

// NextDeadline is when Expired has something to return; false if never.
func (t *Table) NextDeadline() (time.Time, bool) {
	switch {
	case len(t.overdue) > 0:
		return slices.MinFunc(t.overdue, func(a, b *waiter) int { return a.Deadline.Compare(b.Deadline) }).Deadline, true
	case t.deadlines.len() > 0:
		return t.deadlines.top().Deadline, true
	}
	return time.Time{}, false
}

// NextHold is when the first Hold ends and Grants is worth calling for that
// alone; false if nobody is held.
func (t *Table) NextHold() (time.Time, bool) {
	if t.holds.len() == 0 {
		return time.Time{}, false
	}
	return t.holds.top().held, true
}

// Take counts one slot as in use because the node says so (a session that it
// brought along). Slots may be exceeded, and the pool need not be one that the
// node serves. An unknown node is ignored.
func (t *Table) Take(id session.NodeID, poolName string) {
	n := t.nodes[id]
	if n == nil {
		return
	}
	s := t.seat(n, poolName)
	t.unplace(s)
	s.used++
	t.place(s)
}

// Free gives one slot back; false if that node has none in use there.
func (t *Table) Free(now time.Time, id session.NodeID, poolName string) bool {
	n := t.nodes[id]
	if n == nil {
		return false
	}
	s := n.seats[poolName]
	if s == nil || s.used == 0 {
		return false
	}
	t.clock.at(now)
	t.unplace(s)
	s.used--
	if !s.serves && s.used == 0 {
		t.remove(s)
		return true
	}
	t.place(s)
	return true
}

// Hold keeps a node from being given sessions of a pool before until. A later
// end than the one already set replaces it, an earlier one does not.
func (t *Table) Hold(id session.NodeID, poolName string, until time.Time) {
	n := t.nodes[id]
	if n == nil || n.seats[poolName] == nil {
		return
	}
	s := n.seats[poolName]
	if s.holdPlace != 0 && !until.After(s.held) {
		return
	}
	t.unplace(s)
	s.held = until
	t.holds.push(s)
	t.place(s)
}

// seat is the node's seat in that pool, made if need be.
func (t *Table) seat(n *node, name string) *seat {
	if s := n.seats[name]; s != nil {
		return s
	}
	p := t.pools[name]
	if p == nil {
		p = newPool(name, t.policy, t.limits.Aging)
		t.pools[name] = p
	}
	s := &seat{node: n, pool: p}
	n.seats[name], p.seats[n] = s, s
	t.place(s)
	return s
}

// remove forgets a seat that is not placed.
func (t *Table) remove(s *seat) {
	t.holds.drop(s)
	s.pool.leaveHost(s)
	delete(s.node.seats, s.pool.name)
	delete(s.pool.seats, s.node)
	if len(s.pool.seats) == 0 {
		s.pool.policy = t.policy
	}
}

// unplace takes a seat out of everything that depends on what it has; every
// change of a seat is made between unplace and place.
func (t *Table) unplace(s *seat) {
	h := s.host
	h.slots -= s.slots
	h.used -= s.used
	h.ready.drop(s)
	s.pool.rank(h)
}

// place undoes unplace, with what the seat has now.
func (t *Table) place(s *seat) {
	p := s.pool
	h := p.settleHost(s, &t.seq)
	h.slots += s.slots
	h.used += s.used
	ready := s.mayGive()
	if ready {
		h.ready.push(s)
	}
	p.rank(h)
	if ready && !s.announced {
		p.wake(s)
	}
	s.announced = ready
	if ready {
		t.touch(p)
	}
}

// touch notes that something may be granted in a pool.
func (t *Table) touch(p *pool) {
	if !p.dirty && p.lines.len() > 0 {
		p.dirty = true
		t.dirty = append(t.dirty, p)
	}
}

func requests(ws []*waiter) []Request {
	out := make([]Request, len(ws))
	for i, w := range ws {
		out[i] = w.Request
	}
	return out
}
