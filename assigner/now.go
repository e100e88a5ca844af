package assigner

import "time"

// Now gives a request a slot at once, as Ask and Grants one after the other
// would, where nobody waits in its pool and any free slot suits it. It reports
// false and takes nothing in every other case: Ask says what there is to say.
func (t *Table) Now(now time.Time, r Request) (Grant, bool) {
	p := t.pools[r.Pool]
	switch {
	case p == nil || p.waiting > 0 || len(r.Labels) > 0 || r.Want != "" || t.waiters[r.OpenKey] != nil:
		return Grant{}, false
	case !r.Deadline.IsZero() && !r.Deadline.After(now):
		return Grant{}, false
	}
	t.clock.at(now)
	t.release(now)
	if p.ready.len() == 0 {
		return Grant{}, false
	}
	return t.give(r, now, now, p.ready.top().ready.top()), true
}

// give counts a slot of s as in use by a request.
func (t *Table) give(r Request, asked, now time.Time, s *seat) Grant {
	t.grants++
	t.unplace(s)
	s.used++
	s.lastGrant, s.host.lastGrant = t.grants, t.grants
	t.place(s)
	return Grant{Request: r, Node: s.node.id, Waited: max(0, now.Sub(asked)), asked: asked}
}
