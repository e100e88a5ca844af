package zmqio

import "github.com/limpet-rpc/limpet/internal/wire"

// portion is how many envelopes, and faults, the handler gets before whoever they have
// woken has his turn, and what is said to them is sent. A frame may hold more. See
// "Portions" in doc.go.
const portion = 64

// batchKept is for how many messages the room in which a batch is listed is kept.
const batchKept = 8 << 10

// foreseen is the least frame that a Foreseer is shown, in bytes: a few calls. Of
// less there is nothing to be won.
const foreseen = 512

// receive hands the handler a portion of what has come: one batch of every
// connection that the poller has seen something of. What has not been read is seen
// again. It reports whether there is more of the batch.
func (l *Loop) receive() (more bool) {
	if len(l.batch) == 0 {
		l.attend()
	}
	if len(l.batch) > 0 {
		l.deliverPortion()
	}
	if l.delivered < len(l.batch) {
		return true
	}
	clear(l.batch)
	l.batch, l.delivered = l.batch[:0], 0
	if cap(l.batch) > batchKept {
		l.batch = nil
	}
	l.arena.reuse()
	return false
}

func (l *Loop) deliverPortion() {
	if l.delivered == 0 && !l.batch[0].opened { // a batch begins
		l.brought = 0
	}
	if b, ok := l.handler.(Batcher); ok {
		b.Begin()
		defer b.End()
	}
	for room := portion; l.delivered < len(l.batch) && room > 0; {
		room = l.deliver(&l.batch[l.delivered], room)
	}
}

// deliver hands over an arrival, or as many of its envelopes as there is room for,
// and returns how much room is left. An arrival that is done with is counted.
func (l *Loop) deliver(a *arrival, room int) int {
	fault := a.fault
	switch {
	case a.again:
		if r, ok := l.handler.(Renewer); ok {
			r.Renewed(a.from)
		}
	case a.fresh:
		fault = nil
		if g, ok := l.handler.(Greeter); ok {
			g.Fresh(a.from)
		}
	case fault != nil:
	case a.block != nil && l.deliverBlock(a):
		room--
	default:
		var done bool
		if room, done, fault = l.unpack(a, room); !done {
			return room
		}
	}
	l.delivered++
	if fault != nil {
		room--
		l.count.malformed.Add(1)
		l.handler.Malformed(a.from, fault)
	}
	return room
}

// unpack hands over the envelopes of a frame for which there is room. Done says that
// there are no more.
func (l *Loop) unpack(a *arrival, room int) (left int, done bool, err error) {
	if !a.opened {
		l.countFrame(a.body)
		if a.envelopes, err = wire.Split(a.body); err != nil {
			return room, true, err
		}
		a.opened = true
	}
	if l.sees != nil && len(a.body) >= foreseen {
		l.sees.Foresee(a.envelopes, room)
	}
	left = room
	company := false
	for ; left > 0; left-- {
		env, ok := a.envelopes.Next()
		if !ok {
			break
		}
		company = company || !wire.OfFreight(env)
		l.handler.Envelope(a.from, env)
	}
	if company {
		l.accompanied()
	}
	l.brought += room - left
	l.count.envelopesIn.Add(uint64(room - left))
	return left, !a.envelopes.More(), a.envelopes.Err()
}

func (l *Loop) countFrame(body []byte) {
	l.count.framesIn.Add(1)
	l.count.bytesIn.Add(uint64(len(body)))
}
