package worker

import (
	"context"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/session"
)

// Session is what a handler may know of the session it serves. It is fixed
// from Open to Close.
type Session struct {
	id          session.ID
	pool        string
	worker      int
	incarnation uint64
	client      uuid.UUID
	node        session.NodeID
	nodeName    string
	died        func(text string)
	badge       *badge
	prepared    any // *S, or nil
}

// ID is the session's public name.
func (s *Session) ID() session.ID { return s.id }

// Pool is the pool's name.
func (s *Session) Pool() string { return s.pool }

// Worker is the slot that serves it, from 0.
func (s *Session) Worker() int { return s.worker }

// Incarnation is how many sessions that slot has served, this one included.
func (s *Session) Incarnation() uint64 { return s.incarnation }

// Client is the client process that opened it.
func (s *Session) Client() uuid.UUID { return s.client }

// Node is the node that serves it, and its name.
func (s *Session) Node() (session.NodeID, string) { return s.node, s.nodeName }

// Died ends the session with session.ErrWorkerDied, because what serves it is
// gone between two calls; text says how. It does not wait, and for a session
// that has ended it does nothing. A handler returns a DiedError instead.
func (s *Session) Died(text string) { s.died(text) }

// Prepared is what the pool's Prepare made for the session, for its Open to go
// on from; zero in a pool without Prepare. S is the pool's type of state.
func Prepared[S any](s *Session) (state S) {
	if made, ok := s.prepared.(*S); ok {
		return *made
	}
	return state
}

type sessionKey struct{}

// SessionFrom returns the session that a handler's or Open's context belongs
// to, nil for any other context.
func SessionFrom(ctx context.Context) *Session {
	s, _ := ctx.Value(sessionKey{}).(*Session)
	return s
}
