package core

import (
	"cmp"
	"fmt"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// An argument or a reply that travels as chunks has a Flow:
//
//	argument: call{stream} --first credit--> chunks --all taken--> the call goes on as any other
//	reply:    first chunk --Begun--> chunks --reply{stream}, and all has come--> settled
//
// This side drives both: what is not acknowledged is sent again, what does not
// come is asked for again, by the clock of the call itself. Of one direction at
// most Config.Credit bytes are kept.

// Flow is what travels as chunks of one call. Its owner holds it and looks at it
// through the core only.
type Flow struct {
	s *Session
	n uint64

	in     *session.Inflow  // the reply; nil: nothing has come
	out    *session.Outflow // the argument; nil: it was sent whole
	peer   wire.Peer        // whose road out is on
	reply  *Result          // reply{stream}, while chunks are missing
	gap    uint64           // where bytes were missing last, plus 1
	over   bool             // the call is settled, or nobody waits for it
	reader any
	writer any
}

// Begun is a call whose reply comes as chunks: the first has come.
type Begun struct {
	Tag  any
	Flow *Flow
}

// Look is what a look at a flow finds.
type Look uint8

// What a look at a flow finds.
const (
	FlowMoves Look = iota
	FlowWaits      // nothing now: Effects.Wake brings the tag when to look again
	FlowEnded
)

// gapWait is how long missing bytes may take that others have overtaken.
const gapWait = 50 * time.Millisecond

// NewFlow is for an Ask whose argument comes as chunks.
func (c *Core) NewFlow() *Flow {
	f := &Flow{out: session.NewOutflow(c.cfg.Credit, true)}
	f.out.Owner = f
	return f
}

// Feed takes the next bytes of an argument, and mem, which was held for it,
// unless the flow waits or has ended: then nothing was taken.
func (c *Core) Feed(now time.Time, f *Flow, body []byte, mem session.Memory, tag any, fx *Effects) Look {
	if f.over {
		return FlowEnded
	}
	f.writer = nil
	if f.out.Kept() > 0 && f.out.Room() < len(body) {
		f.writer = tag
		return FlowWaits
	}
	f.out.Give(body, mem)
	c.pump(f, fx)
	return FlowMoves
}

// FeedEnd says that the argument is whole; sum is its CRC-32C.
func (c *Core) FeedEnd(f *Flow, sum uint32, fx *Effects) {
	if !f.over {
		f.out.End(sum)
		c.pump(f, fx)
	}
}

// Take hands out the next part of a reply, whose memory is the caller's from
// then on. What it ended with is in the call's Result.
func (c *Core) Take(f *Flow, tag any, fx *Effects) (part session.Chunk, what Look) {
	f.reader = nil
	part, ok := f.in.Next()
	switch {
	case ok:
		if !f.over && f.in.Due() {
			c.grant(f, false, fx)
		}
		return part, FlowMoves
	case f.over:
		return part, FlowEnded
	}
	f.reader = tag
	return part, FlowWaits
}

// Leave gives up what is left of a reply that has come to its last byte: nobody
// takes it. Of any other the call's end does.
func (c *Core) Leave(f *Flow) {
	if f.over && f.in != nil {
		f.in.Close()
	}
}

// Over reports that the call is settled, or nobody waits for it.
func (f *Flow) Over() bool { return f.over }

// Sum is the CRC-32C that the worker gives of a reply.
func (f *Flow) Sum() uint32 { return f.in.Sum() }

// pump sends what may be sent of arguments on the flow's way.
func (c *Core) pump(f *Flow, fx *Effects) {
	if f.s == nil || f.over {
		return // it waits for the session's window, or for nothing
	}
	way, ok := c.way(f.s)
	if !ok {
		return
	}
	c.joinRoad(f, way)
	for r := c.roads[way]; ; {
		o, part, last, again, ok := r.Next()
		if !ok {
			return
		}
		of := o.Owner.(*Flow)
		h := of.header(wire.KindArgChunk)
		if h.Ack = part.At; last {
			h.Flags |= wire.FlagStream
			h.SetSum(o.Sum())
		}
		fx.Part(way, h, part, again)
	}
}

func (c *Core) joinRoad(f *Flow, way wire.Peer) {
	if f.peer != way {
		c.leaveRoad(f)
	}
	r := c.roads[way]
	if r == nil {
		r = session.NewRoad(c.cfg.Road)
		c.roads[way] = r
	}
	f.peer = way
	r.Join(f.out)
}

func (c *Core) leaveRoad(f *Flow) {
	if f.out != nil {
		f.out.Leave()
	}
	if r := c.roads[f.peer]; r != nil && r.Empty() {
		delete(c.roads, f.peer)
	}
}

func (f *Flow) header(kind wire.Kind) wire.Header {
	h := f.s.header()
	h.Kind, h.Number = kind, f.n
	return h
}

// grant tells the worker how much of a reply has come, and how much may.
func (c *Core) grant(f *Flow, again bool, fx *Effects) {
	way, ok := c.way(f.s)
	if !ok {
		return // asked again as soon as there is one
	}
	f.in.Widen(max(c.cfg.Credit/max(1, c.inflows), min(c.cfg.Credit, session.MaxChunk)))
	h := f.header(wire.KindReplyCredit)
	taken, window, _ := f.in.Grant()
	h.Ack = taken
	h.SetWindow(window)
	if again {
		h.Flags |= wire.FlagAgain
	}
	fx.Session(way, &h, nil)
}

// wake names those who wait for the flow.
func (f *Flow) wake(fx *Effects) {
	f.wakeReader(fx)
	f.wakeWriter(fx)
}

func (f *Flow) wakeReader(fx *Effects) {
	if f.reader != nil {
		fx.Wake = append(fx.Wake, f.reader)
		f.reader = nil
	}
}

func (f *Flow) wakeWriter(fx *Effects) {
	if f.writer != nil {
		fx.Wake = append(fx.Wake, f.writer)
		f.writer = nil
	}
}

// endFlow ends a flow with its call. What has come of a reply that is whole is
// still its reader's to take.
func (c *Core) endFlow(f *Flow, whole bool, fx *Effects) {
	if f == nil || f.over {
		return
	}
	f.over, f.reply = true, nil
	if f.out != nil {
		f.out.Close()
		c.leaveRoad(f)
	}
	if f.in != nil {
		c.inflows--
		if !whole {
			f.in.Close()
		}
	}
	f.wake(fx)
}

// flowing finds the call of a chunk or credit, and notes that its worker has it.
func (c *Core) flowing(now time.Time, s *Session, h *wire.Header) (f *flight, ok bool) {
	f = s.calls.At(h.Number)
	if f == nil || f.cancelled != 0 || f.tag == nil {
		return nil, false
	}
	if f.flow == nil {
		f.flow = &Flow{s: s, n: h.Number}
	}
	f.sent = max(f.sent, 2)
	s.calls.Postpone(h.Number, now.Add(session.RetryFirst))
	c.arm(s, now.Add(session.RetryFirst)) // it may have been put off for longer
	return f, true
}

// replyChunk takes a part of a call's reply.
func (c *Core) replyChunk(now time.Time, s *Session, h *wire.Header, body []byte, mem session.Memory, fx *Effects) {
	f, ok := c.flowing(now, s, h)
	switch {
	case !ok:
		return
	case s.once:
		c.badStream(now, s, h, noStream, fx)
		return
	}
	w := f.flow
	c.receive(f, fx)
	arrived := session.ChunkWrong
	if len(body) <= session.MaxChunk {
		arrived = w.in.Arrive(session.Chunk{At: h.Ack, Body: body, Mem: mem}, false, 0)
	}
	switch arrived {
	case session.ChunkWrong:
		c.badStream(now, s, h, fmt.Sprintf("chunk of %d bytes at %d: too large, or beyond what was granted or told as the end", len(body), h.Ack), fx)
		return
	case session.ChunkTaken:
		w.wakeReader(fx)
	case session.ChunkEarly:
		c.missing(now, w, w.in.Taken())
	case session.ChunkKnown:
	}
	switch {
	case w.reply != nil && w.in.Complete():
		c.whole(now, w, fx)
	case len(body) == 0 || w.in.Due() || arrived == session.ChunkKnown:
		c.grant(w, false, fx)
	}
}

// noStream is what is wrong with chunks for a caller that cannot take any.
const noStream = "a reply in chunks to the call of a session of one call"

// receive begins the flow of a reply with its first chunk.
func (c *Core) receive(f *flight, fx *Effects) {
	if w := f.flow; w.in == nil {
		w.in = session.NewInflow(c.cfg.Credit, -1)
		c.inflows++
		fx.Begun = append(fx.Begun, Begun{f.tag, w})
	}
}

// missing has the bytes asked for, or sent, again soon that others have
// overtaken.
func (c *Core) missing(now time.Time, w *Flow, from uint64) {
	if w.gap == from+1 {
		return
	}
	w.gap = from + 1
	w.s.calls.Postpone(w.n, now.Add(gapWait))
	c.arm(w.s, now.Add(gapWait))
}

// argCredit takes a worker's word of how much of an argument it has, and how
// much it has room for.
func (c *Core) argCredit(now time.Time, s *Session, h *wire.Header, fx *Effects) {
	f, ok := c.flowing(now, s, h)
	if !ok || f.flow.out == nil {
		return
	}
	w := f.flow
	if code := w.out.Credit(h.Ack, h.Window(), h.Flags&wire.FlagStream != 0); code != 0 {
		c.badStream(now, s, h, fmt.Sprintf("credit of %d bytes beyond %d: at most %d, and %d were sent", h.Window(), h.Ack, session.MaxCredit, w.out.Sent()), fx)
		return
	}
	if h.Flags&wire.FlagAgain != 0 && w.out.Flying() > 0 {
		c.missing(now, w, w.out.Acked())
	}
	c.pump(w, fx)
	w.wakeWriter(fx)
}

// streamed takes the end of a call whose reply came as chunks. It is settled
// once they all have come.
func (c *Core) streamed(now time.Time, s *Session, h *wire.Header, body []byte, fx *Effects) {
	f := s.calls.At(h.Number)
	if f == nil {
		return
	}
	if f.cancelled != 0 || f.tag == nil {
		c.settle(now, s, h.Number, Result{
			Err: infer(cmp.Or(f.cancelled, session.ErrCancelled), session.Done, h.Number, "the call was done, its reply is not wanted any more"),
		}, fx)
		return
	}
	if s.once {
		c.badStream(now, s, h, noStream, fx)
		return
	}
	f, _ = c.flowing(now, s, h)
	c.receive(f, fx)
	w := f.flow
	d, err := wire.ParseStream(body)
	if err != nil || d.Size < 0 || !w.in.Finish(uint64(d.Size), d.CRC) {
		c.bad(0, h.Kind, session.ErrStream, "the end of a reply that cannot be", fx)
		c.settle(now, s, h.Number, Result{
			Err: infer(session.ErrStream, session.Done, h.Number, "the reply is said to have %d bytes, %d have come", d.Size, w.in.Taken()),
		}, fx)
		return
	}
	w.reply = &Result{Raw: h.Flags&wire.FlagRaw != 0, Sum: d.Sum}
	if w.in.Complete() {
		c.whole(now, w, fx)
		return
	}
	c.missing(now, w, w.in.Taken())
	if !w.in.Began() {
		c.grant(w, false, fx)
	}
}

// whole settles a call whose reply has come to its last byte.
func (c *Core) whole(now time.Time, w *Flow, fx *Effects) {
	c.grant(w, false, fx) // nothing need be kept for it any longer
	r := *w.reply
	r.Flow = w
	c.settle(now, w.s, w.n, r, fx)
}

// badStream ends a call whose worker has sent what cannot be.
func (c *Core) badStream(now time.Time, s *Session, h *wire.Header, text string, fx *Effects) {
	c.bad(0, h.Kind, session.ErrStream, text, fx)
	if way, ok := c.way(s); ok {
		stop := s.header()
		stop.Kind, stop.Code, stop.Number, stop.Ack = wire.KindCancel, session.ErrCancelled, h.Number, s.calls.Ack()
		fx.Session(way, &stop, nil)
	}
	c.settle(now, s, h.Number, Result{Err: infer(session.ErrStream, session.Unknown, h.Number, "%s", text)}, fx)
}

// flowAgain repeats what a flow waits for. It is false where the call itself is
// to be sent again.
func (c *Core) flowAgain(w *Flow, fx *Effects) bool {
	if w == nil {
		return false
	}
	if w.in != nil {
		c.grant(w, true, fx)
	}
	if w.out == nil || w.out.Limit() == 0 || w.out.Done() {
		return w.in != nil
	}
	w.out.Rewind()
	sent := len(fx.Outs) + len(fx.Chunks)
	c.pump(w, fx)
	if way, ok := c.way(w.s); ok && sent == len(fx.Outs)+len(fx.Chunks) {
		h := w.header(wire.KindArgChunk)
		h.Flags, h.Ack = wire.FlagAgain, w.out.Sent()
		fx.Session(way, &h, nil)
	}
	return true
}
