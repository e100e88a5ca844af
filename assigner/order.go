package assigner

import (
	"github.com/limpet-rpc/limpet/session"
)

// Place is where a waiting request stands in its pool's queue: 1 is next, in
// the order in which Grants would serve them all now if every slot suited
// everyone. Not ok if it is not waiting, or past its deadline. The first call
// after a change of the queue costs O(n log n), the others nothing.
func (t *Table) Place(k session.OpenKey) (place int, ok bool) {
	w := t.waiters[k]
	if w == nil || w.overdue {
		return 0, false
	}
	t.order(w.lane.line.pool)
	return w.place, true
}

// Waiting is the queue of a pool in the order of Place.
func (t *Table) Waiting(poolName string) []Request {
	p := t.pools[poolName]
	if p == nil {
		return nil
	}
	t.order(p)
	out := make([]Request, p.waiting)
	for _, l := range p.byKey {
		for _, ln := range l.byKey {
			for w := ln.first; w != nil; w = w.next {
				out[w.place-1] = w.Request
			}
		}
	}
	return out
}

// order numbers the waiters of a pool, unless the numbers are still true.
func (t *Table) order(p *pool) {
	at := t.clock.at(t.clock.latest)
	step := steps(at, p.aging)
	if p.ordered && p.orderAt == step {
		return
	}
	r := newRehearsal(p, at, t.turns)
	for place := 1; ; place++ {
		w := r.serve()
		if w == nil {
			break
		}
		w.place = place
	}
	p.ordered, p.orderAt = true, step
}

// rehearsal serves a whole queue on paper: the same ranks as the real thing,
// with turns and ages of its own.
type rehearsal struct {
	parts   heap[*part]
	step    func(w *waiter, c *client) rank
	clients map[*client]*client
	at      int64
	turns   uint64
}

// part is one lane in a rehearsal: the request it has come to.
type part struct {
	head   *waiter
	client *client // the rehearsal's own
	rank   rank
	place  int
}

func newRehearsal(p *pool, at int64, turns uint64) *rehearsal {
	r := &rehearsal{at: at, turns: turns, clients: make(map[*client]*client, len(p.clients))}
	r.parts = heap[*part]{
		before: func(a, b *part) bool { return a.rank.before(b.rank) },
		place:  func(x *part) *int { return &x.place },
	}
	r.step = func(w *waiter, c *client) rank {
		return w.rankOf(p.aging, c.turn, c.served[w.Priority+maxPriority])
	}
	for _, c := range p.clients {
		actor := *c
		r.clients[c] = &actor
	}
	for _, l := range p.byKey {
		for _, ln := range l.byKey {
			x := &part{head: ln.first, client: r.clients[ln.client]}
			x.rank = r.step(x.head, x.client)
			r.parts.push(x)
		}
	}
	return r
}

// serve is the next request, nil at the end.
func (r *rehearsal) serve() *waiter {
	for r.parts.len() > 0 {
		x := r.parts.top()
		if now := r.step(x.head, x.client); now != x.rank {
			x.rank = now
			r.parts.push(x)
			continue
		}
		w := x.head
		if !w.returned {
			r.turns++
			x.client.turn = r.turns
			x.client.served[w.Priority+maxPriority] = r.at
		}
		if x.head = w.next; x.head == nil {
			r.parts.drop(x)
		} else {
			x.rank = r.step(x.head, x.client)
			r.parts.push(x)
		}
		return w
	}
	return nil
}
