package core

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// An argument or a reply that comes as chunks has a flow, until the reply's last
// byte was taken:
//
//	call{stream}, its turn --> in:  chunks are taken, credits granted --+
//	                                                                    +--> Done --> reply
//	the handler gives bytes -> out: chunks are sent, credits taken ----+      |
//	                            |                                          drained
//	    cancelled, stalled, session over, bad stream: broken, its memory is free
//
// The holder drives: it asks again for what does not come, and repeats what is
// not acknowledged. The worker's own clock only ends the reply of a holder that
// takes nothing for long.

// flow is what travels as chunks of one call.
type flow struct {
	s      *Session
	number uint64
	epoch  uint32
	from   wire.Peer // the way to the holder
	via    wire.Peer
	sum    bool // both ways with a checksum

	in  *session.Inflow  // the argument; nil: it came whole, or is not wanted any more
	out *session.Outflow // the reply; nil: nothing was given yet

	reader, writer any // who waits for bytes, for room; nil: nobody
	moved          time.Time
	took           uint64 // what of the reply had been taken then
	broken         *session.Error
	done           bool // the handler has ended; bytes of its reply are kept
}

// DefaultStall is how long a holder may take nothing of a reply that waits for
// it.
const DefaultStall = 30 * time.Second

// stuckAfter is when bytes on their way count as lost, or as kept elsewhere.
const stuckAfter = time.Second

// Flow is what a handler gets of a stream in one look.
type Flow uint8

// What a look at a stream finds.
const (
	FlowMoves Flow = iota
	FlowWaits      // nothing now: Effects.Wake brings the tag when to look again
	FlowEnded
)

// receive begins the flow of a call whose turn has come and whose argument comes
// as chunks: from now on they may.
func (c *Core) receive(now time.Time, s *Session, call *Call, fx *Effects) {
	f := c.flowFor(now, s, call.Number)
	f.sum = call.Stream.Sum
	f.in = session.NewInflow(c.cfg.Credit, call.Stream.Size)
	c.grantMore(f, fx)
}

// flowFor is the flow of the call that runs.
func (c *Core) flowFor(now time.Time, s *Session, n uint64) *flow {
	if f := s.flows[n]; f != nil {
		return f
	}
	f := &flow{s: s, number: n, epoch: s.epochOf(n), moved: now}
	f.from, f.via = s.wayBack(n)
	if s.flows == nil {
		s.flows = map[uint64]*flow{}
	}
	s.flows[n] = f
	c.flows = append(c.flows, f)
	return f
}

// drop forgets a flow, with all that it keeps.
func (c *Core) drop(f *flow) {
	f.close()
	c.leaveRoad(f)
	delete(f.s.flows, f.number)
	if i := slices.Index(c.flows, f); i >= 0 {
		c.flows = slices.Delete(c.flows, i, i+1)
	}
}

func (f *flow) close() {
	if f.in != nil {
		f.in.Close()
	}
	if f.out != nil {
		f.out.Close()
	}
}

func (f *flow) header(kind wire.Kind) wire.Header {
	return wire.Header{Kind: kind, Via: f.via, Node: f.s.node, Session: f.s.id, Epoch: f.epoch, Number: f.number}
}

// Take hands the next part of the running call's argument to its handler, whose
// its memory is from then on. At the end sum is what the holder says the
// CRC-32C of the whole is, where summed.
func (c *Core) Take(now time.Time, s *Session, n uint64, tag any, fx *Effects) (part session.Chunk, what Flow, broken *session.Error) {
	f := s.flows[n]
	switch {
	case f == nil || f.in == nil:
		return part, FlowEnded, errOver(n)
	case f.broken != nil:
		return part, FlowEnded, f.broken
	}
	f.reader = nil
	part, ok := f.in.Next()
	switch {
	case ok:
		if f.in.Due() {
			c.grantMore(f, fx)
		}
		return part, FlowMoves, nil
	case f.in.Complete():
		return part, FlowEnded, nil
	}
	f.reader = tag
	return part, FlowWaits, nil
}

// ArgumentSum is the CRC-32C of an argument that has come to its end, where its
// holder gave one.
func (c *Core) ArgumentSum(s *Session, n uint64) (sum uint32, given bool) {
	if f := s.flows[n]; f != nil && f.in != nil && f.sum {
		return f.in.Sum(), true
	}
	return 0, false
}

// Give takes the next bytes of the running call's reply, and mem, which was held
// for it, unless the flow waits: then nothing was taken.
func (c *Core) Give(now time.Time, s *Session, n uint64, body []byte, mem session.Memory, tag any, fx *Effects) (what Flow, broken *session.Error) {
	switch {
	case s.callee.Running() != n:
		return FlowEnded, errOver(n)
	case s.orphaned(n):
		return FlowEnded, errMoved
	case s.state != stateOpen:
		return FlowEnded, s.why
	}
	f := c.flowFor(now, s, n)
	if f.broken != nil {
		return FlowEnded, f.broken
	}
	if f.out == nil {
		f.out = session.NewOutflow(c.cfg.Credit, false)
		f.out.Owner = f
	}
	f.writer = nil
	if kept := f.out.Kept(); kept > 0 && (f.out.Room() < len(body) || s.kept()+len(body) > session.DefaultBytes) {
		f.writer = tag
		return FlowWaits, nil
	} else if kept == 0 {
		f.moved, f.took = now, f.out.Acked()
	}
	f.out.Give(body, mem)
	c.alive(now, f)
	if c.pump(f, fx); f.out.Limit() == 0 && f.out.Given() == uint64(len(body)) {
		c.announce(f, fx)
	}
	return FlowMoves, nil
}

func errOver(n uint64) *session.Error {
	return &session.Error{Code: session.ErrCancelled, Call: n, Text: "the call is over"}
}

var errMoved = &session.Error{Code: session.ErrSessionMoved, Text: "another holder attached to the session"}

// kept is how many bytes of replies a session keeps as chunks.
func (s *Session) kept() int {
	n := 0
	for _, f := range s.flows {
		if f.out != nil {
			n += f.out.Kept()
		}
	}
	return n
}

// pump sends what may be sent on the flow's road, its own and that of those that
// wait for their turn there.
func (c *Core) pump(f *flow, fx *Effects) {
	c.joinRoad(f)
	r := c.roads[f.from]
	for {
		o, part, _, again, ok := r.Next()
		if !ok {
			return
		}
		of := o.Owner.(*flow)
		h := of.header(wire.KindReplyChunk)
		h.Ack = part.At
		fx.Part(of.from, h, part, again)
	}
}

// roadLanes is how many holders behind one broker may have their road full of what
// they do not acknowledge before others wait for them.
const roadLanes = 3

func (c *Core) joinRoad(f *flow) {
	r := c.roads[f.from]
	if r == nil {
		r = session.NewRoadWithLanes(roadLanes*c.cfg.Road, c.cfg.Road)
		c.roads[f.from] = r
	}
	r.JoinLane(f.out, uint64(f.via))
}

func (c *Core) leaveRoad(f *flow) {
	if f.out != nil {
		f.out.Leave()
	}
	if r := c.roads[f.from]; r != nil && r.Empty() {
		delete(c.roads, f.from)
	}
}

// announce says that bytes wait: an empty chunk, which is answered by a credit.
func (c *Core) announce(f *flow, fx *Effects) {
	h := f.header(wire.KindReplyChunk)
	h.Ack = f.out.Sent()
	fx.Session(f.from, &h, nil)
}

// grantMore tells the holder what of its argument has come, and how much may.
func (c *Core) grantMore(f *flow, fx *Effects) {
	h := f.header(wire.KindArgCredit)
	taken, window, end := f.in.Grant()
	h.Ack = taken
	h.SetWindow(window)
	if end {
		h.Flags = wire.FlagStream
	}
	fx.Session(f.from, &h, nil)
}

// alive takes what moves in a flow as a sign of life of its call.
func (c *Core) alive(now time.Time, f *flow) {
	if f.s.callee.Running() == f.number {
		c.dog.Beat(now, &f.s.ward)
		f.s.acquit()
	}
}

// wake names those who wait for the flow.
func (f *flow) wake(fx *Effects) {
	f.wakeReader(fx)
	f.wakeWriter(fx)
}

func (f *flow) wakeReader(fx *Effects) {
	if f.reader != nil {
		fx.Wake = append(fx.Wake, f.reader)
		f.reader = nil
	}
}

func (f *flow) wakeWriter(fx *Effects) {
	if f.writer != nil {
		fx.Wake = append(fx.Wake, f.writer)
		f.writer = nil
	}
}

// flowing finds the flow of a holder's chunk or credit. Where there is none, one
// that was sent again is answered with what became of its call, and any other is
// passed over: it came late.
func (c *Core) flowing(now time.Time, from wire.Peer, h *wire.Header, fx *Effects) *flow {
	again := h.Flags&wire.FlagAgain != 0
	s := c.sessions[h.Session]
	if s == nil || !s.key.Equal(h.Key) || h.Epoch != s.epoch || s.state != stateOpen {
		if again {
			c.holding(from, h, fx)
		}
		return nil
	}
	s.clocks.Beat(now)
	s.heard(from, h.Via)
	s.redirect(h.Number, from, h.Via)
	f := s.flows[h.Number]
	if f == nil || f.broken != nil {
		if again {
			c.whatOf(from, h, s, fx)
		}
		return nil
	}
	c.turnTo(f, from, h.Via)
	return f
}

// turnTo has a flow go the way by which its holder was heard last.
func (c *Core) turnTo(f *flow, from, via wire.Peer) {
	if f.from != from || f.via != via {
		c.leaveRoad(f)
	}
	f.from, f.via = from, via
}

// whatOf answers a chunk or credit that was sent again, of a call without a
// flow.
func (c *Core) whatOf(from wire.Peer, h *wire.Header, s *Session, fx *Effects) {
	if r, ok := s.callee.Stored(h.Number); ok {
		c.replyTo(from, h, &r, fx)
	} else if h.Number > s.callee.Acked() && h.Number <= s.callee.Top() {
		c.say(from, h, wire.KindHeld, 0, fx)
	}
}

// argChunk takes a part of a call's argument.
func (c *Core) argChunk(now time.Time, from wire.Peer, h *wire.Header, body []byte, mem session.Memory, fx *Effects) {
	f := c.flowing(now, from, h, fx)
	if f == nil {
		return
	}
	again, last := h.Flags&wire.FlagAgain != 0, h.Flags&wire.FlagStream != 0
	if f.in == nil {
		if again {
			c.whatOf(from, h, f.s, fx)
		}
		return
	}
	c.alive(now, f)
	if len(body) > session.MaxChunk {
		c.badStream(f, fmt.Sprintf("chunk of %d bytes, at most %d", len(body), session.MaxChunk), fx)
		return
	}
	switch f.in.Arrive(session.Chunk{At: h.Ack, Body: body, Mem: mem}, last, h.Sum()) {
	case session.ChunkWrong:
		c.badStream(f, fmt.Sprintf("chunk of %d bytes at %d, end %t: beyond what was granted, announced, or told as the end", len(body), h.Ack, last), fx)
		return
	case session.ChunkTaken:
		f.wakeReader(fx)
		again = again || f.in.Due()
	case session.ChunkKnown:
		again = true // its sender has not heard of it
	case session.ChunkEarly:
	}
	if again {
		c.grantMore(f, fx)
	}
}

// replyCredit takes a holder's word of how much of a reply it has, and how much
// it has room for.
func (c *Core) replyCredit(now time.Time, from wire.Peer, h *wire.Header, fx *Effects) {
	f := c.flowing(now, from, h, fx)
	if f == nil {
		return
	}
	again := h.Flags&wire.FlagAgain != 0
	if f.out == nil {
		if again {
			c.whatOf(from, h, f.s, fx)
		}
		return
	}
	c.alive(now, f)
	if code := f.out.Credit(h.Ack, h.Window(), false); code != 0 {
		c.badStream(f, fmt.Sprintf("credit of %d bytes beyond %d: at most %d, and %d were sent", h.Window(), h.Ack, session.MaxCredit, f.out.Sent()), fx)
		return
	}
	if f.out.Acked() > f.took {
		f.moved, f.took = now, f.out.Acked()
	}
	if again {
		f.out.Rewind()
	}
	sent := len(fx.Outs) + len(fx.Chunks)
	c.pump(f, fx)
	f.wakeWriter(fx)
	if again && sent == len(fx.Outs)+len(fx.Chunks) {
		c.whatOf(from, h, f.s, fx)
	}
	if f.done && f.out.Done() {
		c.drop(f)
	}
}

// renew sends again what a flow has to say: its call has come once more.
func (c *Core) renew(s *Session, n uint64, from, via wire.Peer, fx *Effects) {
	f := s.flows[n]
	if f == nil || f.broken != nil {
		return
	}
	c.turnTo(f, from, via)
	if f.in != nil {
		c.grantMore(f, fx)
	}
	if f.out == nil {
		return
	}
	f.out.Rewind()
	if c.pump(f, fx); f.out.Starved() {
		c.announce(f, fx)
	}
}

// badStream ends a call whose holder has sent what cannot be.
func (c *Core) badStream(f *flow, text string, fx *Effects) {
	c.bad++
	fx.Events = append(fx.Events, Event{What: EventBad, Peer: f.from, Session: f.s.id, Pool: f.s.pool.Name, Code: session.ErrStream, Text: text})
	if !f.done {
		fx.Cancel = append(fx.Cancel, Cancel{Session: f.s, Number: f.number, Why: session.ErrCancelled})
	}
	c.breakFlow(f, &session.Error{Code: session.ErrStream, Call: f.number, Text: text}, fx)
}

// breakFlow gives up what a flow keeps. Who waits for it is told; a reply that
// was done and not taken is gone.
func (c *Core) breakFlow(f *flow, why *session.Error, fx *Effects) {
	if f.broken != nil {
		return
	}
	f.broken = why
	f.close()
	c.leaveRoad(f)
	f.wake(fx)
	if !f.done {
		return
	}
	r := f.lost()
	f.s.callee.Lose(f.number, r)
	h := wire.Header{Via: f.via, Node: c.cfg.Node, Session: f.s.id, Epoch: f.epoch, Number: f.number}
	c.answer(f.from, &h, &r, fx)
	c.drop(f)
}

// lost is the reply of a call whose own is gone.
func (f *flow) lost() session.Reply {
	code := f.broken.Code
	if f.done && code != session.ErrStream {
		code = session.ErrReplyGone
	}
	return session.Reply{Code: code, Outcome: session.Done, Body: wire.AppendFailure(nil, f.broken.Text, "")}
}

// breakAll ends all flows of a session.
func (c *Core) breakAll(s *Session, why *session.Error, fx *Effects) {
	if len(s.flows) == 0 {
		return
	}
	for _, n := range slices.Sorted(maps.Keys(s.flows)) {
		c.breakFlow(s.flows[n], why, fx)
	}
}

// conclude takes the end of a call's handler: what it has not read is dropped,
// what it has given is kept until it was taken. It makes the reply the one that is
// to be stored.
func (c *Core) conclude(s *Session, n uint64, r *session.Reply) {
	f := s.flows[n]
	if f == nil {
		if r.Stream && s.orphaned(n) {
			*r = session.Reply{Code: errMoved.Code, Outcome: session.Done, Body: wire.AppendFailure(nil, errMoved.Text, "")}
		}
		if r.Stream {
			r.Body = wire.AppendStream(nil, wire.Stream{CRC: r.Sum})
		}
		return
	}
	if b := f.broken; b != nil && (r.Stream || b.Code == session.ErrStream || b.Code == session.ErrReplyGone) {
		o := r.Outcome
		*r = f.lost()
		r.Outcome = o
	}
	f.done, f.reader, f.writer = true, nil, nil
	if f.in != nil {
		f.in.Close()
		f.in = nil
	}
	if r.Stream {
		d := wire.Stream{Sum: f.sum, CRC: r.Sum}
		if f.out != nil {
			f.out.End(r.Sum)
			d.Size = int64(f.out.Given())
		}
		r.Body = wire.AppendStream(nil, d)
	}
	if !r.Stream || f.out == nil || f.out.Done() {
		c.drop(f)
	}
}

// forgiven drops the flows of calls that are settled at the holder.
func (c *Core) forgiven(s *Session) {
	if len(s.flows) == 0 {
		return
	}
	for _, n := range slices.Sorted(maps.Keys(s.flows)) {
		if f := s.flows[n]; f.done && n <= s.callee.Acked() {
			c.drop(f)
		}
	}
}

// cancelFlow frees what a call's stream keeps, as its holder wants nothing more
// of it.
func (c *Core) cancelFlow(s *Session, n uint64, code session.Code, fx *Effects) {
	f := s.flows[n]
	if f == nil || f.broken != nil {
		return
	}
	why := &session.Error{Code: code, Call: n, Text: "its caller wants no more of it"}
	if !f.done {
		c.breakFlow(f, why, fx)
		return
	}
	f.broken = why // the answer to the cancel tells of it
	s.callee.Lose(n, f.lost())
	c.drop(f)
}

// watchFlows ends the replies of holders that take nothing, counts the bytes as
// lost that are long on their way, and sees to it that a handler that waits for
// its holder is not taken for hung. Nap is for how long nobody looked.
func (c *Core) watchFlows(now time.Time, nap time.Duration, fx *Effects) {
	for _, f := range slices.Clone(c.flows) {
		if f.reader != nil || f.writer != nil {
			c.alive(now, f)
		}
		if f.out == nil || f.broken != nil || f.out.Kept() == 0 {
			continue
		}
		f.moved = f.moved.Add(nap)
		stall := cmp.Or(f.s.pool.Stall, DefaultStall)
		switch silent := now.Sub(f.moved); {
		case stall > 0 && silent >= stall:
			c.breakFlow(f, &session.Error{Code: session.ErrReplyGone, Call: f.number, Text: fmt.Sprintf(
				"its caller took %d bytes of the reply, then none for %s", f.out.Acked(), stall)}, fx)
		case silent >= stuckAfter:
			f.out.Stuck()
			c.pump(f, fx)
		}
	}
}
