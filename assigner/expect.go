package assigner

import "sort"

// Expect makes a pool known that no node serves yet, so that Ask queues for it:
// a broker that was restarted waits for its nodes to come back.
func (t *Table) Expect(name string) {
	if t.pools[name] == nil {
		t.pools[name] = newPool(name, t.policy, t.limits.Aging)
	}
}

// Desert forgets an expected pool that no node has come for, and returns who
// waited for it, the oldest first. A pool that has nodes is left alone.
func (t *Table) Desert(name string) []Request {
	p := t.pools[name]
	if p == nil || len(p.seats) > 0 {
		return nil
	}
	var gone []*waiter
	for _, w := range t.waiters {
		if w.Pool == name {
			gone = append(gone, w)
		}
	}
	sort.Slice(gone, func(i, j int) bool { return gone[i].seq < gone[j].seq })
	for _, w := range gone {
		t.forget(w)
	}
	t.Forget(name)
	return requests(gone)
}
