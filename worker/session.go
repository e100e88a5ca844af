package worker

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// Session is what a handler may know of the session it serves. It is fixed
// from Open to Close.
type Session struct {
	task     *task
	prepared any // *S, or nil
}

// ID is the session's public name.
func (s *Session) ID() session.ID { return s.task.session.ID() }

// Pool is the pool's name.
func (s *Session) Pool() string { return s.task.session.Pool() }

// Worker is the slot that serves it, from 0.
func (s *Session) Worker() int { return s.task.session.Worker() }

// Incarnation is how many sessions that slot has served, this one included.
func (s *Session) Incarnation() uint64 { return s.task.session.Incarnation() }

// Client is the client process that opened it.
func (s *Session) Client() uuid.UUID { return s.task.session.Client() }

// Node is the node that serves it, and its name.
func (s *Session) Node() (session.NodeID, string) { return s.task.node.id, s.task.node.name }

// Died ends the session with session.ErrWorkerDied, because what serves it is
// gone between two calls; text says how. It does not wait, and for a session
// that has ended it does nothing. A handler returns a DiedError instead.
func (s *Session) Died(text string) {
	n, ended := s.task.node, s.task.session
	n.onLoop(func(fx *core.Effects) { n.core.Died(time.Now(), ended, text, fx) })
}

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
