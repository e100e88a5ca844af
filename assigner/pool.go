package assigner

import (
	"time"

	"github.com/google/uuid"
)

// pool is the seats and the queue of one pool.
type pool struct {
	name   string
	policy Policy        // the table's own, or see SetPolicy
	aging  time.Duration // fixed

	seats map[*node]*seat
	hosts map[string]*host
	ready heap[*host] // hosts with a seat that may give

	clients map[uuid.UUID]*client
	byKey   map[string]*line
	lines   heap[*line] // lines that may be served
	parked  []*line     // lines that no slot suits at present
	waiting int

	dirty   bool  // in Table.dirty
	ordered bool  // the places of the waiters are true ...
	orderAt int64 // ... for this ageing step
}

func newPool(name string, p Policy, aging time.Duration) *pool {
	return &pool{
		name: name, policy: p, aging: aging,
		seats: map[*node]*seat{}, hosts: map[string]*host{},
		clients: map[uuid.UUID]*client{}, byKey: map[string]*line{},
		ready: heap[*host]{before: hostBefore, place: func(h *host) *int { return &h.place }},
		lines: heap[*line]{
			before: func(a, b *line) bool { return a.lanes.top().rank.before(b.lanes.top().rank) },
			place:  func(l *line) *int { return &l.place },
		},
	}
}

// next is the line whose head is served first, nil if none may be served.
func (p *pool) next() *line {
	for p.lines.len() > 0 {
		l := p.lines.top()
		if !l.settle() {
			return l
		}
		p.lines.push(l)
	}
	return nil
}

// best is the seat that the policy gives to a request of this line, nil if no
// seat suits. O(1) without labels, else a look at every seat that may give.
func (p *pool) best(l *line) *seat {
	if len(l.labels) == 0 && l.want == "" {
		if p.ready.len() == 0 {
			return nil
		}
		return p.ready.top().ready.top()
	}
	var best *seat
	for _, h := range p.ready.all {
		for _, s := range h.ready.all {
			if s.suits(l) && (best == nil || p.prefers(s, best)) {
				best = s
			}
		}
	}
	return best
}

func (p *pool) prefers(a, b *seat) bool {
	if a.host != b.host {
		return hostBefore(a.host, b.host)
	}
	return p.policy.seatBefore(a, b)
}

// rank puts a host where it belongs among those with something to give.
func (p *pool) rank(h *host) {
	if h.ready.len() > 0 {
		p.ready.push(h)
	} else {
		p.ready.drop(h)
	}
}

// settleHost puts a seat with the host that its node's label names now.
func (p *pool) settleHost(s *seat, seq *uint64) *host {
	name := p.hostName(s.node)
	if s.host != nil && s.host.name == name {
		return s.host
	}
	p.leaveHost(s)
	h := p.hosts[name]
	if h == nil {
		*seq++
		h = newHost(name, *seq, p.policy)
		p.hosts[name] = h
	}
	h.seats++
	s.host = h
	return h
}

func (p *pool) leaveHost(s *seat) {
	if s.host == nil {
		return
	}
	s.host.seats--
	if s.host.seats == 0 {
		delete(p.hosts, s.host.name)
	}
	s.host = nil
}

// hostName is the key of a node's host; the first letter keeps label values
// and node ids apart.
func (p *pool) hostName(n *node) string {
	if p.policy != Spread {
		return ""
	}
	if name, ok := n.labels[HostLabel]; ok {
		return "l" + name
	}
	return "n" + n.id.String()
}

// serves tells whether some node, free or busy, could suit these labels. A
// pool without nodes waits for one, and who knows what labels it will have.
func (p *pool) serves(labels map[string]string) bool {
	if len(labels) == 0 {
		return true
	}
	serving := false
	for _, s := range p.seats {
		if s.serves && s.matches(labels) {
			return true
		}
		serving = serving || s.serves
	}
	return !serving
}

// park sets a line aside until a slot that suits it comes free.
func (p *pool) park(l *line) {
	p.lines.drop(l)
	p.parked = append(p.parked, l)
	l.parked = len(p.parked)
}

func (p *pool) unpark(l *line) {
	i, last := l.parked-1, len(p.parked)-1
	p.parked[i] = p.parked[last]
	p.parked[i].parked = i + 1
	p.parked[last] = nil
	p.parked = p.parked[:last]
	l.parked = 0
}

// wake lets every parked line that this seat suits be served again.
func (p *pool) wake(s *seat) {
	for i := 0; i < len(p.parked); {
		l := p.parked[i]
		if !s.suits(l) {
			i++
			continue
		}
		p.unpark(l)
		p.lines.push(l)
	}
}

// enter puts w at its place in the queue.
func (p *pool) enter(w *waiter, key string, turn func() uint64) {
	c := p.clients[w.Client]
	if c == nil {
		c = &client{id: w.Client, turn: turn()}
		for i := range c.served {
			c.served[i] = longAgo
		}
		p.clients[w.Client] = c
	}
	l := p.byKey[key]
	if l == nil {
		l = newLine(p, key, w.Labels, w.Want)
		p.byKey[key] = l
	}
	lk := w.laneKey()
	ln := l.byKey[lk]
	if ln == nil {
		ln = &lane{line: l, client: c, key: lk}
		l.byKey[lk] = ln
	}
	ln.append(w)
	w.lane = ln
	l.waiting++
	c.waiting++
	p.waiting++
	p.ordered = false
	p.rerank(ln)
}

// leave takes w out of the queue, and with it whatever it was the last of.
func (p *pool) leave(w *waiter) {
	ln, c := w.lane, w.lane.client
	ln.remove(w)
	w.lane = nil
	ln.line.waiting--
	c.waiting--
	p.waiting--
	p.ordered = false
	if c.waiting == 0 {
		delete(p.clients, c.id)
	}
	p.rerank(ln)
}

// rerank puts a lane whose head may have changed where it belongs, and its
// line too.
func (p *pool) rerank(ln *lane) {
	l := ln.line
	if ln.first == nil {
		delete(l.byKey, ln.key)
		if l.place != 0 && l.lanes.len() == 1 {
			p.lines.drop(l)
		}
		l.lanes.drop(ln)
	} else {
		ln.rank = ln.headRank()
		l.lanes.push(ln)
	}
	switch {
	case l.lanes.len() > 0 && l.parked == 0:
		p.lines.push(l)
	case l.lanes.len() == 0:
		if l.parked != 0 {
			p.unpark(l)
		}
		delete(p.byKey, l.key)
	}
}

// appendAllOf adds all of a client's requests, in no order.
func (p *pool) appendAllOf(id uuid.UUID, ws []*waiter) []*waiter {
	for _, l := range p.byKey {
		for k, ln := range l.byKey {
			for w := ln.first; w != nil && k.client == id; w = w.next {
				ws = append(ws, w)
			}
		}
	}
	return ws
}
