package sim

import (
	"time"

	client "github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// In some worlds arguments and replies travel as chunks of a few bytes, under as
// little credit. What each byte of a stream must be is known from its call and its
// place, so that one that is lost, doubled or moved is seen where it is read. What
// concerns streams draws from a chance of its own.

const (
	flowCredit = 40 // bytes kept of one stream
	flowRoad   = 64 // bytes on their way to one peer
	flowChunk  = 16 // at most
)

// streams chooses whether streams are made.
func (p *plan) stream(seed uint64) {
	if p.budget > 0 || seed%4 != 1 {
		return // a handler that waits for its caller is not hung; how long it may is another world's
	}
	p.streams = true
	if p.stall = 4 * time.Second; seed%8 == 1 {
		p.stall = -1 // whatever is lost has to come again
	}
}

// flowBound is a bound of streams, 0 where they are not made.
func (w *World) flowBound(n int) int {
	if !w.plan.streams {
		return 0
	}
	return n
}

// flows are what a call sends and gets as chunks.
type flows struct {
	argument, reply int // bytes behind the work, behind the reply; below 0: it goes whole
	slow            bool
}

// tide chooses them.
func (w *World) tide(c *callRecord) {
	c.flows = flows{argument: -1, reply: -1}
	if !w.plan.streams {
		return
	}
	if w.tides.in(0.4) {
		c.flows.argument = int(w.tides.skewed(0, 600))
	}
	if w.tides.in(0.5) {
		c.flows.reply = int(w.tides.skewed(0, 600))
	}
	c.flows.slow = w.tides.in(0.1)
}

// drop is the byte at a place of a call's stream.
func drop(id uint64, at int) byte { return byte(id*131 + uint64(at)*29 + uint64(at)>>8) }

// swell appends a call's stream to its beginning.
func swell(b []byte, id uint64, size int) []byte {
	for range size {
		b = append(b, drop(id, len(b)))
	}
	return b
}

// flood is memory that is counted: what is held when all is over was forgotten.
type flood struct {
	held *int
	refs int
}

func newFlood(held *int) *flood { *held++; return &flood{held, 1} }

// Hold implements session.Memory.
func (f *flood) Hold() { f.refs++ }

// Drop implements session.Memory.
func (f *flood) Drop() {
	if f.refs--; f.refs == 0 {
		*f.held--
	}
	if f.refs < 0 {
		panic("sim: memory is dropped twice")
	}
}

// bell wakes whoever waits for a flow.
type bell struct{ ring func() }

// wake rings those that an effect names, a little later.
func (p *process) wake(tags []any) {
	for _, tag := range tags {
		p.after(p.w.tides.skewed(0, 2*time.Millisecond), tag.(*bell).ring)
	}
}

// parcel is the next part of what is still to be given.
func (w *World) parcel(left []byte) []byte {
	return left[:min(len(left), w.tides.count(1, flowChunk))]
}

// feeding is a caller that gives its argument.
type feeding struct {
	k    *calling
	flow *client.Flow
	left []byte
}

func (f *feeding) turn() {
	c, w := f.k.user.client, f.k.user.client.w
	look := client.FlowMoves
	c.step(func(fx *client.Effects) {
		if len(f.left) == 0 {
			c.core.FeedEnd(f.flow, 0, fx)
			look = client.FlowEnded
			return
		}
		part := w.parcel(f.left)
		mem := newFlood(&c.held)
		if look = c.core.Feed(c.now(), f.flow, part, mem, &bell{f.turn}, fx); look != client.FlowMoves {
			mem.Drop()
			return
		}
		f.left = f.left[len(part):]
	})
	if look == client.FlowMoves {
		c.after(w.tides.skewed(0, 10*time.Millisecond), f.turn)
	}
}

// drinking is a caller that reads its reply as it comes.
type drinking struct {
	k    *calling
	flow *client.Flow
	got  []byte
	end  bool
}

func (d *drinking) turn() {
	if d.end {
		return
	}
	c, w := d.k.user.client, d.k.user.client.w
	look := client.FlowWaits
	c.step(func(fx *client.Effects) { look = d.take(fx) })
	if look != client.FlowMoves {
		return
	}
	next := w.tides.skewed(0, 10*time.Millisecond)
	if d.k.record.flows.slow && w.tides.in(0.05) {
		next = w.tides.between(0, 8*time.Second)
	}
	c.after(next, d.turn)
}

// take takes one part, which must be what comes next.
func (d *drinking) take(fx *client.Effects) client.Look {
	c := d.k.user.client
	part, look := c.core.Take(d.flow, &bell{d.turn}, fx)
	before := len(d.got)
	d.got = append(d.got, part.Body...)
	part.Drop()
	id := d.k.record.id
	for at := max(replySize, before); at < len(d.got); at++ {
		if d.got[at] != drop(id, at) {
			c.w.fail("%s: byte %d of the reply to work %d is %d, not %d", c.name, at, id, d.got[at], drop(id, at))
			break
		}
	}
	return look
}

// rest is the whole of a reply that has come.
func (d *drinking) rest() []byte {
	d.end = true
	var fx client.Effects
	look := client.FlowMoves
	for look == client.FlowMoves {
		look = d.take(&fx)
	}
	return d.got
}

// begun takes that the reply of a call comes as chunks.
func (k *calling) begun(f *client.Flow) {
	k.drinking = &drinking{k: k, flow: f}
	c := k.user.client
	c.after(c.w.tides.skewed(0, 10*time.Millisecond), k.drinking.turn)
}

// streamed is a reply that came as chunks: its beginning, if it is whole.
func (k *calling) streamed(f *client.Flow) []byte {
	w := k.user.client.w
	if k.drinking == nil || k.drinking.flow != f {
		w.fail("work %d has a reply that never began", k.record.id)
		return nil
	}
	b := k.drinking.rest()
	if len(b) != replySize+k.record.flows.reply {
		w.fail("the reply to work %d has %d bytes, it was given %d", k.record.id, len(b), replySize+k.record.flows.reply)
		return nil
	}
	return b[:replySize]
}

// reading is a handler that reads its argument as it comes; it begins with the
// work in front.
type reading struct {
	t     *task
	call  core.Call
	got   []byte
	begun bool
}

func (r *reading) turn() {
	t, n, w := r.t, r.t.node, r.t.node.w
	if r.begun && (t.current == nil || t.current.call.Number != r.call.Number) {
		return // it has ended without the rest
	}
	var part session.Chunk
	var look core.Flow
	var broken *session.Error
	n.step(func(fx *core.Effects) {
		part, look, broken = n.core.Take(n.now(), t.session, r.call.Number, &bell{r.turn}, fx)
	})
	before := len(r.got)
	r.got = append(r.got, part.Body...)
	part.Drop()
	if len(r.got) >= workSize {
		r.check(before)
	}
	switch {
	case !r.begun && len(r.got) >= workSize:
		r.begun = true
		r.call.Args = r.got
		n.after(0, func() { t.work(r.call) })
	case !r.begun && look == core.FlowEnded:
		n.after(0, func() {
			reply := session.Reply{Code: session.ErrCancelled, Outcome: session.NotRun, Body: wire.AppendFailure(nil, "its argument did not come", "")}
			t.report(func(fx *core.Effects) { n.core.Done(n.now(), t.session, r.call.Number, &reply, fx) })
		})
		return
	case look == core.FlowEnded && broken == nil:
		if want := workSize + w.truth.call(parseWork(r.got).id).flows.argument; len(r.got) != want {
			w.fail("%s: an argument of %d bytes ends after %d", n.name, want, len(r.got))
		}
	}
	if look == core.FlowMoves {
		n.after(w.tides.skewed(0, 10*time.Millisecond), r.turn)
	}
}

// check looks at what has come since there were so many bytes.
func (r *reading) check(before int) {
	id := parseWork(r.got).id
	for at := max(workSize, before); at < len(r.got); at++ {
		if r.got[at] != drop(id, at) {
			r.t.node.w.fail("%s: byte %d of the argument of work %d is %d, not %d", r.t.node.name, at, id, r.got[at], drop(id, at))
			return
		}
	}
}

// giving is a handler that gives its reply as chunks.
type giving struct {
	t    *task
	r    *running
	left []byte
	end  func(code session.Code)
}

func (g *giving) turn() {
	t, n, w := g.t, g.t.node, g.t.node.w
	if t.current != g.r {
		return
	}
	look := core.FlowMoves
	if len(g.left) > 0 {
		n.step(func(fx *core.Effects) {
			part, mem := w.parcel(g.left), newFlood(&n.held)
			if look, _ = n.core.Give(n.now(), t.session, g.r.call.Number, part, mem, &bell{g.turn}, fx); look != core.FlowMoves {
				mem.Drop()
				return
			}
			g.left = g.left[len(part):]
		})
	}
	switch {
	case look == core.FlowEnded:
		g.end(session.ErrCancelled)
	case look == core.FlowMoves && len(g.left) == 0:
		g.end(0)
	case look == core.FlowMoves:
		n.after(w.tides.skewed(0, 10*time.Millisecond), g.turn)
	}
}
