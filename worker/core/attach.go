package core

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// attach gives a session to another holder, who shows its key. The header's
// number names the attach, so that a copy of it moves nothing a second time;
// the body is the new holder's client id and the name of the pool it expects,
// which may be empty. What the old holder had queued is not run; what runs goes
// on for the old holder, whose every later frame is refused by epoch.
func (c *Core) attach(now time.Time, from wire.Peer, h *wire.Header, body []byte, fx *Effects) {
	if len(body) < 16 || h.Number == 0 {
		c.failTo(from, h, session.ErrBadMessage, session.NotRun, "an attach carries a number and a client id", fx)
		return
	}
	holder, pool := uuid.UUID(body[:16]), string(body[16:])
	s := c.sessions[h.Session]
	switch {
	case s == nil:
		c.notHere(from, h, fx)
		return
	case !s.key.Equal(h.Key) || (pool != "" && pool != s.pool.Name):
		c.failTo(from, h, session.ErrTokenInvalid, session.NotRun, "the token is not this session's", fx)
		return
	case s.state != stateOpen:
		c.failTo(from, h, s.why.Code, session.NotRun, s.why.Text, fx)
		return
	case slices.Contains(s.attached[1:], h.Number): // a copy that came after a later one
		c.failTo(from, h, session.ErrSessionMoved, session.NotRun, "another holder attached to it since", fx)
		return
	case s.attached[0] != h.Number:
		c.move(now, s, holder, h.Number, fx)
	}
	s.heard(from, h.Via)
	a := wire.Header{
		Kind: wire.KindAttached, Via: h.Via, Node: c.cfg.Node, Session: s.id, Epoch: s.epoch, Number: h.Number, Ack: s.callee.Acked() + 1,
	}
	live := s.live()
	fx.Session(from, &a, wire.AppendControl(nil, &wire.Opened{
		Request: s.open.Request, Broker: wire.NodeUUID(c.cfg.Node), Node: c.cfg.Node, NodeName: c.cfg.Name, PID: c.cfg.PID, Pool: live.Pool,
		Worker: live.Worker, Incarnation: live.Incarnation, Session: s.id, Key: s.key, Epoch: s.epoch, Endpoint: c.cfg.Endpoint, Limits: live.Limits,
	}))
}

// movesMost bounds the earlier holders who can be told what of theirs was
// never run.
const movesMost = 32

// move makes holder the session's holder.
func (c *Core) move(now time.Time, s *Session, holder uuid.UUID, nonce uint64, fx *Effects) {
	const text = "another holder attached to it"
	c.breakAll(s, errMoved, fx)
	numbers, calls := s.callee.Waiting()
	for i, n := range numbers {
		c.fail(s, calls[i].from, calls[i].via, n, session.ErrSessionMoved, session.NotRun, text, fx)
	}
	if s.from != 0 {
		h := wire.Header{Kind: wire.KindExpired, Code: session.ErrSessionMoved, Via: s.via, Node: c.cfg.Node, Session: s.id, Epoch: s.epoch}
		fx.Session(s.from, &h, wire.AppendFailure(nil, text, ""))
	}
	if n := s.callee.Running(); n != 0 && !s.orphaned(n) {
		from, via := s.wayBack(n)
		s.orphan = &orphan{number: n, from: from, via: via, epoch: s.epoch}
	}
	s.epoch++
	copy(s.attached[1:], s.attached[:])
	s.attached[0] = nonce
	if len(s.moves) == movesMost {
		s.moves = slices.Delete(s.moves, 0, 1)
	}
	s.moves = append(s.moves, s.callee.Turn())
	s.callee.Move()
	c.giveTo(now, s, holder)
	s.clocks.Call(now)
	if s.callee.Running() == 0 {
		c.rest(now, s)
	}
	c.accepted(s.live(), fx)
}

// giveTo counts a session, and the slot it holds, for another client.
func (c *Core) giveTo(now time.Time, s *Session, holder uuid.UUID) {
	delete(s.client.sessions, s.id)
	s.client.digest ^= session.Digest(s.id)
	if s.client.held--; s.client.held == 0 {
		delete(c.clients, s.client.id)
	}
	s.holder = holder
	if s.holder == s.open.Client {
		s.holder = uuid.Nil
	}
	s.client = c.clients[holder]
	if s.client == nil {
		s.client = &client{id: holder, sessions: map[session.ID]*Session{}, beat: now}
		c.clients[holder] = s.client
	}
	s.client.held++
	s.client.sessions[s.id] = s
	s.client.digest ^= session.Digest(s.id)
}
