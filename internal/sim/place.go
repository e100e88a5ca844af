package sim

import (
	"strings"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// A place is a slot, or a place in a queue. Here it is judged who may be given
// one, and how it comes back: that every table is empty at the end shows little
// of that, for the lease gives back in the end what every other way forgot.

// mourned is after how long everybody has given up a client that died: its
// lease, a copy of its last beat that came late, and the ticks that notice.
func (w *World) mourned() time.Duration {
	d := w.plan.lease + w.plan.delay + w.plan.jitter + 5*tick
	if w.plan.double > 0 {
		d += time.Second
	}
	return d
}

// gone reports that a client is dead for so long that nothing may be begun for
// it any more. Where messages are lost, nobody can say.
func (t *truth) gone(c *clientPart, at time.Duration) bool {
	return c != nil && !c.alive && at > c.died+t.w.mourned() && !t.w.plan.loses()
}

// client finds a client by its id; nil for the liar.
func (w *World) client(s *core.Session) *clientPart {
	for _, c := range w.clients {
		if c.id == s.Client() {
			return c
		}
	}
	return nil
}

// seated notes who asked for a session that is put on a slot.
func (t *truth) seated(s *core.Session) {
	r := t.session(s.ID())
	r.client = t.w.client(s)
	if t.gone(r.client, t.w.now) {
		t.w.fail("session %s is put on a slot for %s, which is dead since %s", s.ID(), r.client.name, r.client.died)
	}
}

// claimed judges what a node says of a session that lives there.
func (t *truth) claimed(l *wire.Live) {
	r := t.session(l.Session)
	if r.epoch == 0 {
		r.opened = t.w.now
	}
	r.epoch = max(r.epoch, l.Epoch)
	if l.Epoch > 1+r.moves {
		t.w.fail("session %s has epoch %d, but was attached to %d times", l.Session, l.Epoch, r.moves)
	}
}

// returned judges a session that ended because its lease was over. A lease is
// for clients that die: a session that its client closed, or never wanted, is
// given back by a message, and so is one that was opened for a client of whom
// it was known by then that it is dead.
func (t *truth) returned(r *sessionRecord, code session.Code, text string) {
	if code != session.ErrSessionExpired || !strings.HasPrefix(text, session.ClockLease) || t.w.plan.loses() {
		return
	}
	switch c := r.client; {
	case c == nil || t.w.plan.attaches && t.w.plan.clientCrashes > 0:
	case c.alive:
		t.w.fail("session %s was left to its lease, although its client lives and no message was lost", r.id)
	case t.gone(c, r.opened):
		t.w.fail("session %s of %s, dead since %s, was opened at %s and left to its lease", r.id, c.name, c.died, r.opened)
	}
}

// watchWait notes until when an open may wait in this broker's queue.
func (b *brokerPart) watchWait(env []byte) {
	if wire.KindOf(env) != wire.KindOpen {
		return
	}
	asked, _ := wire.ParseControl(env)
	if m, ok := asked.(*wire.Open); ok && m.Wait > 0 {
		key := session.OpenKey{Client: m.Client, Request: m.Request}
		if until := b.now().Add(time.Duration(m.Wait) * time.Millisecond); until.After(b.until[key]) {
			b.until[key] = until
		}
	}
}

// waitedTooLong reports that an open is offered for the first time after its
// wait was over. Where connections break, it may have been granted in time, to
// a node that could not be told.
func (b *brokerPart) waitedTooLong(key session.OpenKey) bool {
	until, known := b.until[key]
	return known && !b.w.plan.loses() && !b.offered[key] && b.now().After(until)
}
