package core

import (
	"fmt"
	"hash/crc32"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// hashMost is how much of a call's body the repeated-number check reads.
const hashMost = 4096

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// hashOf tells two calls under one number apart: by the method's name, behind what
// stands before it, and the argument.
func hashOf(method, args []byte) uint64 {
	name := method[:min(len(method), hashMost)]
	sum := crc32.Update(0, castagnoli, name)
	sum = crc32.Update(sum, castagnoli, args[:min(len(args), hashMost-len(name))])
	return uint64(sum)<<32 | uint64(uint32(len(method)+len(args)))
}

// live is the session of that id, nil where none lives or closes here.
func (c *Core) live(id session.ID) *Session {
	at := c.nearby.Place(&id)
	if s := *at; s != nil && s.id == id {
		return s
	}
	s := c.sessions[id]
	if s != nil {
		*at = s
	}
	return s
}

// enter puts a session among those that live here.
func (c *Core) enter(s *Session) {
	c.sessions[s.id] = s
	c.nearby.Fit(len(c.sessions))
	*c.nearby.Place(&s.id) = s
}

// forget takes a session out of those that live or close here.
func (c *Core) forget(s *Session) {
	delete(c.sessions, s.id)
	if at := c.nearby.Place(&s.id); *at == s {
		*at = nil
	}
}

// call takes one call, or a copy of one.
func (c *Core) call(now time.Time, from wire.Peer, h *wire.Header, rest []byte, fx *Effects) {
	s := c.holding(from, h, fx)
	if s == nil {
		return
	}
	method, args, err := wire.CutMethod(h, rest)
	if err != nil {
		c.failTo(from, h, session.ErrBadMessage, session.NotRun, err.Error(), fx)
		return
	}
	call, of := c.newCall(), s.pool.method(method) // field by field: nothing is written twice
	call.Number, call.Raw, call.Patience = h.Number, h.Flags&wire.FlagRaw != 0, h.Patience
	call.of, call.from, call.via = of, from, h.Via
	if of.lends {
		call.mem = append(call.mem[:0], args...)
		call.Args = call.mem
	} else {
		call.Args = c.kept.Keep(args)
	}
	if call.Traced = h.Flags&wire.FlagTrace != 0 && h.Trace.Valid(); call.Traced {
		call.Trace = h.Trace
	}
	if call.Deadline = (time.Time{}); h.Budget > 0 {
		call.Deadline = now.Add(h.Budget)
	}
	if h.Flags&wire.FlagStream != 0 {
		d, err := wire.ParseStream(call.Args)
		if err != nil {
			c.recycle(call)
			c.failTo(from, h, session.ErrBadMessage, session.NotRun, err.Error(), fx)
			return
		}
		call.Stream, call.Args = &d, nil
	}
	verdict, reply, code := s.callee.Arrive(h.Number, h.Ack, hashOf(nil, rest), len(rest), call.Deadline, call)
	if verdict != session.Refused {
		s.heard(from, h.Via)
		c.forgiven(s)
	}
	if verdict != session.Queued {
		c.recycle(call)
	}
	switch verdict {
	case session.Queued:
		s.clocks.Call(now)
		c.next(now, s, fx)
	case session.Repeated:
		s.clocks.Beat(now)
		s.redirect(h.Number, from, h.Via)
		c.say(from, h, wire.KindHeld, 0, fx)
		c.renew(s, h.Number, from, h.Via, fx)
	case session.Replayed:
		s.clocks.Beat(now)
		c.reply(s, from, h.Via, h.Number, &reply, fx)
		c.renew(s, h.Number, from, h.Via, fx)
	case session.Refused:
		c.failTo(from, h, code, c.outcomeOf(code), c.explain(s, h, code), fx)
	}
}

// sparesMost is how many calls are kept to be used again, spareSize how much memory
// with each, in bytes.
const (
	sparesMost = 1024
	spareSize  = 16 << 10
)

func (c *Core) newCall() *Call {
	last := len(c.spares) - 1
	if last < 0 {
		return new(Call)
	}
	call := c.spares[last]
	c.spares = c.spares[:last]
	return call
}

// recycle takes back a call that nobody uses any more: it was never handed out, or
// its end has come. Nil is none.
func (c *Core) recycle(call *Call) {
	if call == nil || len(c.spares) == sparesMost {
		return
	}
	if cap(call.mem) > spareSize {
		call.mem = nil
	}
	call.Args, call.Room, call.Stream = nil, nil, nil // what it came in is kept no longer
	if call.Traced {
		call.Traced, call.Trace = false, wire.Trace{}
	}
	c.spares = append(c.spares, call)
}

// roomSize is how much memory the reply of a session's first call is given, in bytes,
// for most are the only ones; roomsAtOnce for how many it is one allocation.
const (
	roomSize    = 128
	roomsAtOnce = 32
)

// room is memory for such a reply. One that is larger gets its own.
func (c *Core) room() []byte {
	if len(c.rooms) == 0 {
		c.rooms = make([]byte, roomSize*roomsAtOnce)
	}
	room := c.rooms[:0:roomSize]
	c.rooms = c.rooms[roomSize:]
	return room
}

// outcomeOf says what a refused copy means for its call: one from the past has
// ended already, and its end is what counts.
func (c *Core) outcomeOf(code session.Code) session.Outcome {
	if code == session.ErrPast {
		return session.Done
	}
	return session.NotRun
}

func (c *Core) explain(s *Session, h *wire.Header, code session.Code) string {
	switch code {
	case session.ErrFuture:
		return fmt.Sprintf("call %d, acknowledged to %d, window %d", h.Number, s.callee.Acked(), s.limits().Window)
	case session.ErrPast:
		return fmt.Sprintf("call %d, acknowledged to %d", h.Number, s.callee.Acked())
	case session.ErrAcknowledged:
		return fmt.Sprintf("call %d acknowledges %d, answered to %d", h.Number, h.Ack, s.callee.Turn()-1)
	case session.ErrOverloaded:
		return fmt.Sprintf("%d bytes of calls and replies kept for this session", s.callee.Bytes())
	}
	return ""
}

// holding finds the session of a holder's message and checks that it is its
// holder's. Where it is not, the sender is answered and nobody else notices.
func (c *Core) holding(from wire.Peer, h *wire.Header, fx *Effects) *Session {
	s := c.live(h.Session)
	if s == nil {
		c.notHere(from, h, fx)
		return nil
	}
	if !s.key.Equal(h.Key) {
		c.failTo(from, h, session.ErrSessionForeign, session.NotRun, "the key is not this session's", fx)
		return nil
	}
	switch {
	case h.Epoch < s.epoch && h.Kind.OfCall() && h.Kind != wire.KindCancel && s.orphans(h):
		s.orphan.from, s.orphan.via = from, h.Via
		c.say(from, h, wire.KindHeld, 0, fx)
		return nil
	case h.Epoch < s.epoch:
		c.moved(from, h, s.epoch, s.moves, fx)
		return nil
	case h.Epoch > s.epoch:
		c.failTo(from, h, session.ErrEpoch, session.NotRun, fmt.Sprintf("epoch %d, now %d", h.Epoch, s.epoch), fx)
		return nil
	}
	if s.state != stateOpen {
		c.ending(from, h, s, fx)
		return nil
	}
	return s
}

// ending answers for a session whose last call or Close still runs.
func (c *Core) ending(from wire.Peer, h *wire.Header, s *Session, fx *Effects) {
	if n := s.callee.Running(); n == h.Number && n != 0 && h.Kind.OfCall() {
		s.redirect(n, from, h.Via)
		c.say(from, h, wire.KindHeld, 0, fx)
		return
	}
	c.remains(from, h, &s.callee, s.why, fx)
}

// moved answers a holder from whom the session was taken: what he had not
// started by then was never run.
func (c *Core) moved(from wire.Peer, h *wire.Header, epoch uint32, moves []uint64, fx *Effects) {
	outcome := session.Unknown
	if i := len(moves) - int(epoch-h.Epoch); i >= 0 && h.Number >= moves[i] {
		outcome = session.NotRun
	}
	c.failTo(from, h, session.ErrSessionMoved, outcome, fmt.Sprintf("epoch %d, now %d", h.Epoch, epoch), fx)
}

// notHere answers for a session that does not live here: from what is
// remembered of it, or that nothing is.
func (c *Core) notHere(from wire.Peer, h *wire.Header, fx *Effects) {
	p := c.past.find(h.Session)
	if p == nil || !p.key.Equal(h.Key) {
		c.failTo(from, h, session.ErrSessionUnknown, session.Unknown, "node "+c.cfg.Name+" has no such session", fx)
		return
	}
	if h.Epoch != 0 && h.Epoch < p.epoch {
		c.moved(from, h, p.epoch, p.moves(), fx)
		return
	}
	c.remains(from, h, &p.replies, p.why, fx)
}

// replies are those of a session that has ended, or is about to.
type replies interface {
	Stored(n uint64) (session.Reply, bool)
	Turn() uint64
}

// remains answers a message for such a session: with the stored reply of a call
// that was done, and with why the session ended for what never ran.
func (c *Core) remains(from wire.Peer, h *wire.Header, kept replies, why *session.Error, fx *Effects) {
	if !h.Kind.OfCall() {
		c.failTo(from, h, why.Code, session.NotRun, why.Text, fx)
		return
	}
	if r, ok := kept.Stored(h.Number); ok {
		c.replyTo(from, h, &r, fx)
		return
	}
	switch {
	case h.Number >= kept.Turn():
		c.failTo(from, h, why.Code, session.NotRun, why.Text, fx)
	default:
		c.failTo(from, h, session.ErrReplyGone, session.Done, why.Text, fx)
	}
}

// next runs the call whose turn has come, unless another session has the lane,
// and answers those that came too late to be started.
func (c *Core) next(now time.Time, s *Session, fx *Effects) {
	if s.state != stateOpen || s.errand != nil {
		return
	}
	before := s.callee.Turn()
	ready, expired := s.callee.Ready(now)
	for _, late := range expired {
		if r, stored := s.callee.Stored(late); stored {
			c.reply(s, s.from, s.via, late, &r, fx)
		}
	}
	ready = ready && !s.spent()
	errand := len(s.errands) > 0 && s.callee.Running() == 0 && (!ready || !s.yields) && !s.spent()
	switch l := s.lane; {
	case !ready && !errand:
		c.nothing(now, s, before, fx)
	case l != nil && l.taken():
		l.queue(s)
	case errand:
		c.startErrand(now, s, fx)
	default:
		c.start(now, s, fx)
	}
}

// start runs the call that Ready has found.
func (c *Core) start(now time.Time, s *Session, fx *Effects) {
	_, call := s.callee.Start()
	if call.Room = s.callee.Room(); call.Room == nil && call.Number == 1 {
		call.Room = c.room()
	}
	if s.lane != nil {
		s.lane.busy = s
	}
	s.yields = false
	c.guard(now, s, call)
	if call.Stream != nil {
		c.receive(now, s, call, fx)
	}
	fx.Run = append(fx.Run, Run{Session: s, Call: call})
}

// nothing takes that no call of the session is ready.
func (c *Core) nothing(now time.Time, s *Session, before uint64, fx *Effects) {
	if s.callee.Running() == 0 && s.callee.Turn() != before {
		c.rest(now, s)
	}
	c.endOnce(now, s, fx)
}

// endOnce ends a session that was opened for one call, once that has ended.
func (c *Core) endOnce(now time.Time, s *Session, fx *Effects) {
	if s.spent() {
		c.end(now, s, session.ErrSessionClosed, endOnce.Text, fx)
		c.closeBare(now, s, fx)
	}
}

// spent reports that the session was opened for one call, and that has ended:
// nothing else runs in it, no broadcast either.
func (s *Session) spent() bool { return s.once && s.callee.Running() == 0 && s.callee.Turn() > 1 }

// rest starts a session's idle clock, which may be the next to run out.
func (c *Core) rest(now time.Time, s *Session) {
	s.clocks.Rest(now)
	if idle := s.limits().Idle; idle > 0 && now.Add(idle).Before(s.due) {
		c.schedule(s)
	}
}

// Done takes the end of the call that a session's goroutine was running. A
// reply whose code says that the worker panicked or died ends the session. The
// end of a call that was found to hang has been told before.
func (c *Core) Done(now time.Time, s *Session, n uint64, r *session.Reply, fx *Effects) {
	if s.lane != nil {
		s.vacate()
		defer c.grant(now, s.lane, fx)
	}
	if r.Stream || s.flows != nil {
		c.conclude(s, n, r)
	}
	if s.quarantined {
		return
	}
	c.dog.End(&s.ward)
	s.acquit()
	call, to := s.callee.Finish(n, r), s.from
	h := wire.Header{Via: s.via, Node: c.cfg.Node, Session: s.id, Key: s.sign(), Epoch: s.epoch, Number: n}
	switch {
	case s.orphaned(n):
		to, h.Via, h.Epoch = s.orphan.from, s.orphan.via, s.orphan.epoch
	case call != nil:
		to, h.Via = call.from, call.via
	}
	c.recycle(call)
	c.answer(to, &h, r, fx)
	if s.closed {
		c.Closed(now, s, fx)
	}
	if s.state != stateOpen {
		return
	}
	if r.Code == session.ErrWorkerPanic {
		c.end(now, s, session.ErrWorkerPanic, fmt.Sprintf("its call %d panicked", n), fx)
		return
	}
	if r.Code == session.ErrWorkerDied {
		c.end(now, s, r.Code, wire.ParseFailure(r.Body).Text, fx)
		return
	}
	c.rest(now, s)
	c.next(now, s, fx)
}

// orphans reports that h is a copy of the call that still runs for the holder
// before.
func (s *Session) orphans(h *wire.Header) bool {
	return s.orphaned(h.Number) && h.Epoch == s.orphan.epoch && h.Number == s.callee.Running()
}

// orphaned reports that call n ran for the holder before when he lost the
// session.
func (s *Session) orphaned(n uint64) bool { return s.orphan != nil && s.orphan.number == n }

// epochOf is the epoch of the holder for whom call n runs.
func (s *Session) epochOf(n uint64) uint32 {
	if s.orphaned(n) {
		return s.orphan.epoch
	}
	return s.epoch
}

// wayBack is where the answer to call n, which runs, is to go.
func (s *Session) wayBack(n uint64) (from, via wire.Peer) {
	if s.orphaned(n) {
		return s.orphan.from, s.orphan.via
	}
	if call, ok := s.callee.Held(n); ok {
		return call.from, call.via
	}
	return s.from, s.via
}

// redirect has the answer to call n, where it is still to come, go another way.
func (s *Session) redirect(n uint64, from, via wire.Peer) {
	if call, ok := s.callee.Held(n); ok {
		call.from, call.via = from, via
	}
}

// heard notes the holder's way back.
func (s *Session) heard(from, via wire.Peer) {
	s.from, s.via = from, via
	s.client.way, s.client.via = from, via
}

// holderAt is the last known way to the holder, who may have beaten and never
// called.
func (s *Session) holderAt() (to, via wire.Peer) {
	if s.from != 0 {
		return s.from, s.via
	}
	return s.client.way, s.client.via
}

// cancel ends a call that has not started, or cancels the context of the one
// that runs.
func (c *Core) cancel(now time.Time, from wire.Peer, h *wire.Header, fx *Effects) {
	s := c.holding(from, h, fx)
	if s == nil {
		return
	}
	s.heard(from, h.Via)
	s.clocks.Beat(now)
	if h.Ack < h.Number { // it makes room in the window, as the call itself would have
		if code := s.callee.Ack(h.Ack); code != 0 {
			c.failTo(from, h, code, session.NotRun, c.explain(s, h, code), fx)
			return
		}
	}
	code := session.ErrCancelled
	if h.Code == session.ErrDeadline {
		code = h.Code
	}
	c.forgiven(s)
	c.cancelFlow(s, h.Number, code, fx)
	switch s.callee.Cancel(h.Number, code) {
	case session.CancelRefused:
		c.failTo(from, h, session.ErrFuture, session.NotRun, c.explain(s, h, session.ErrFuture), fx)
	case session.CancelRunning:
		fx.Cancel = append(fx.Cancel, Cancel{Session: s, Number: s.callee.Running(), Why: code})
		s.redirect(h.Number, from, h.Via)
		c.say(from, h, wire.KindHeld, 0, fx)
	case session.CancelBefore, session.CancelLate:
		if r, ok := s.callee.Stored(h.Number); ok {
			c.replyTo(from, h, &r, fx)
		}
		c.next(now, s, fx)
	}
}

// close ends a session at its holder's wish. One that is over, or was never
// there, is closed as far as its holder is concerned.
func (c *Core) close(now time.Time, from wire.Peer, h *wire.Header, fx *Effects) {
	s := c.sessions[h.Session]
	switch {
	case s == nil:
		code := session.ErrSessionUnknown
		if p := c.past.find(h.Session); p != nil {
			code = p.why.Code
		}
		c.say(from, h, wire.KindClosed, code, fx)
	case !s.key.Equal(h.Key):
		c.say(from, h, wire.KindClosed, session.ErrSessionForeign, fx)
	case h.Epoch < s.epoch:
		c.say(from, h, wire.KindClosed, session.ErrSessionMoved, fx)
	case h.Epoch > s.epoch:
		c.say(from, h, wire.KindClosed, session.ErrEpoch, fx)
	default:
		_ = s.callee.Ack(h.Ack) // a wrong one acknowledges nothing
		c.end(now, s, session.ErrSessionClosed, endClosed.Text, fx)
		c.say(from, h, wire.KindClosed, 0, fx)
		c.closeBare(now, s, fx)
	}
}

// lease takes a client's beat for all its sessions here. The header carries
// how many they are and the digest over them; where that is not what is known
// here, the client is asked for the list, and only what it lists lives on.
func (c *Core) lease(now time.Time, from wire.Peer, h *wire.Header, body []byte, fx *Effects) {
	if len(body)%16 != 0 {
		c.say(from, h, wire.KindLeased, session.ErrBadMessage, fx)
		return
	}
	cl := c.clients[h.Session]
	if cl == nil {
		cl = &client{} // nobody's: whatever is listed is unknown here
	}
	a := wire.Header{Kind: wire.KindLeased, Via: h.Via, Node: c.cfg.Node, Session: h.Session, Number: uint64(len(cl.sessions)), Ack: cl.digest}
	if h.Number == uint64(len(cl.sessions)) && h.Ack == cl.digest {
		cl.beat, cl.way, cl.via = now, from, h.Via
		fx.Session(from, &a, nil)
		return
	}
	if len(body) == 0 && h.Number > 0 {
		a.Flags = wire.FlagAgain
		fx.Session(from, &a, nil)
		return
	}
	var unknown []byte
	for ; len(body) > 0; body = body[16:] {
		id := uuid.UUID(body[:16])
		if s := cl.sessions[id]; s != nil {
			cl.way, cl.via = from, h.Via
			s.clocks.Beat(now)
		} else {
			unknown = append(unknown, id[:]...)
		}
	}
	fx.Session(from, &a, unknown)
}

// reply sends a stored or fresh reply.
func (c *Core) reply(s *Session, to, via wire.Peer, n uint64, r *session.Reply, fx *Effects) {
	h := wire.Header{Via: via, Node: c.cfg.Node, Session: s.id, Key: s.sign(), Epoch: s.epoch, Number: n}
	c.answer(to, &h, r, fx)
}

// sign is what stands in the key's place of an answer. A client that opened
// for one call may not have the route: the answer names its request.
func (s *Session) sign() session.Key {
	if s.once {
		return session.Key(s.open.Request)
	}
	return session.Key{}
}

func (c *Core) replyTo(to wire.Peer, of *wire.Header, r *session.Reply, fx *Effects) {
	h := wire.Header{Via: of.Via, Node: c.cfg.Node, Session: of.Session, Epoch: of.Epoch, Number: of.Number}
	c.answer(to, &h, r, fx)
}

// answer sends r under h, which says whose it is and gets the rest here.
func (c *Core) answer(to wire.Peer, h *wire.Header, r *session.Reply, fx *Effects) {
	h.Kind = wire.KindReply
	if r.Raw {
		h.Flags |= wire.FlagRaw
	}
	if r.Stream {
		h.Flags |= wire.FlagStream
	}
	if r.Next {
		h.Flags |= wire.FlagNext
	}
	if r.Code != 0 {
		h.Kind, h.Code = wire.KindFail, r.Code
		h.SetOutcome(r.Outcome)
	}
	fx.Session(to, h, r.Body)
}

func (c *Core) fail(s *Session, to, via wire.Peer, n uint64, code session.Code, o session.Outcome, text string, fx *Effects) {
	r := session.Reply{Code: code, Outcome: o, Body: wire.AppendFailure(nil, text, "")}
	c.reply(s, to, via, n, &r, fx)
}

// failTo answers a holder's message with a fail, or the way its kind is
// answered.
func (c *Core) failTo(to wire.Peer, h *wire.Header, code session.Code, o session.Outcome, text string, fx *Effects) {
	switch h.Kind {
	case wire.KindClose:
		c.say(to, h, wire.KindClosed, code, fx)
	case wire.KindLease:
		c.say(to, h, wire.KindLeased, code, fx)
	default:
		fx.Fail(to, wire.Header{Via: h.Via, Node: c.cfg.Node, Session: h.Session, Epoch: h.Epoch, Number: h.Number}, code, o, text, "")
	}
}

func (c *Core) say(to wire.Peer, of *wire.Header, kind wire.Kind, code session.Code, fx *Effects) {
	h := wire.Header{Kind: kind, Code: code, Via: of.Via, Node: c.cfg.Node, Session: of.Session, Epoch: of.Epoch, Number: of.Number}
	fx.Session(to, &h, nil)
}
