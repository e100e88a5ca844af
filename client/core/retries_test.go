package core

import (
	"testing"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// The session by which a node is asked is any of those that are open there, until that
// one is not.
func TestBeatGoesByASessionThatIsOpen(t *testing.T) {
	d := newDesk(t, 1)
	var all []*Session
	for i := range 3 {
		d.fx.Reset()
		o, refused := d.core.Open(d.now, Wish{Pool: "p"}, i, &d.fx)
		if refused != nil {
			t.Fatal(refused)
		}
		d.hear(1, &wire.Opened{Request: o.request, Node: 7, Pool: "p", Session: uuid.UUID{15: byte(9 - i)}, Epoch: 1})
		all = append(all, d.fx.Results[0].Session)
	}
	n := d.core.nodes[7]
	for _, over := range []int{1, 0, 2} {
		d.fx.Reset()
		d.core.renew(n, nil, &d.fx)
		if len(d.fx.Outs) != 1 || n.first == nil || n.sessions[n.first.ID()] != n.first {
			t.Fatalf("%d beats, by %v", len(d.fx.Outs), n.first)
		}
		d.core.unhold(all[over])
	}
	d.fx.Reset()
	if d.core.renew(n, nil, &d.fx); len(d.fx.Outs) != 0 {
		t.Error("a node without sessions is asked")
	}
}

// Those that have begun a call are looked at in turn, also where one of them has to be
// looked at before; who is over is not.
func TestRetriesInTheirOrder(t *testing.T) {
	var r retries
	d := newDesk(t, 1)
	sessions := make([]*Session, 6)
	for i := range sessions {
		sessions[i] = &Session{place: placeNone, wake: d.now.Add(session.RetryFirst)}
		r.join(sessions[i])
	}
	early := sessions[3]
	r.quit(early)
	early.wake = d.now
	r.join(early) // behind those that come later
	r.quit(sessions[0])
	r.quit(sessions[0]) // is nowhere
	r.quit(sessions[5])
	var got []*Session
	for s := r.next(); s != nil; s = r.next() {
		n := 0
		r.each(func(*Session) { n++ })
		if n != r.len() {
			t.Errorf("%d are there, %d are counted", n, r.len())
		}
		got = append(got, s)
		r.quit(s)
	}
	for i, want := range []int{3, 1, 2, 4} {
		if i >= len(got) || got[i] != sessions[want] {
			t.Fatalf("place %d: %v", i, got)
		}
	}
}
