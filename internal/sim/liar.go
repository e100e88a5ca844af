package sim

import (
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// liar is somebody who knows the keys of sessions and sends what no client may
// send: numbers from the future and acknowledgements of what was never
// answered. Every such frame must be refused, and nobody else may notice.
type liar struct {
	process
	link *link
}

func (l *liar) proc() *process { return &l.process }

func (l *liar) receive(_ wire.Peer, env []byte) {
	h, _, err := wire.ParseHeader(env)
	if err == nil && h.Number == farAhead && (h.Kind == wire.KindReply || h.Kind == wire.KindHeld) {
		l.w.fail("an impossible call was taken: %s", describe(env))
	}
}

func (w *World) newLiar() {
	l := &liar{process: process{w: w, name: "liar"}}
	l.start(func() {})
	l.link = w.connect(l, w.brokers[0], 1)
	l.after(time.Second, l.lie)
}

// farAhead is beyond every window and every number that a user reaches.
const farAhead = 1 << 12

func (l *liar) lie() {
	w := l.w
	c := w.clients[w.chance.IntN(len(w.clients))]
	u := c.users[w.chance.IntN(len(c.users))]
	if s := u.session; s != nil {
		token := s.Token()
		h := wire.Header{Node: token.Node, Session: token.Session, Key: token.Key, Epoch: s.Route().Epoch, Number: farAhead}
		if w.chance.in(0.5) {
			h.Ack = farAhead - 1
		}
		k := work{}
		l.link.send(wire.AppendCall(nil, &h, "work", k.append(nil)))
	}
	if w.now < w.plan.work {
		l.after(w.chance.between(50*time.Millisecond, time.Second), l.lie)
	} else {
		l.die()
	}
}
