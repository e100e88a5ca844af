package client

import (
	"errors"

	"github.com/limpet-rpc/limpet/session"
)

// What errors.Is may be asked of every error of this package. They are the
// codes and outcomes of package session, here so that most programs need not
// import it.
const (
	ErrUnreachable    = session.ErrUnreachable
	ErrVersion        = session.ErrVersion
	ErrPoolUnknown    = session.ErrPoolUnknown
	ErrLabelsUnknown  = session.ErrLabelsUnknown
	ErrOverloaded     = session.ErrOverloaded
	ErrNoWorker       = session.ErrNoWorker
	ErrDraining       = session.ErrDraining
	ErrOpenFailed     = session.ErrOpenFailed
	ErrSessionUnknown = session.ErrSessionUnknown
	ErrSessionForeign = session.ErrSessionForeign
	ErrSessionClosed  = session.ErrSessionClosed
	ErrSessionMoved   = session.ErrSessionMoved
	ErrSessionExpired = session.ErrSessionExpired
	ErrSessionDrained = session.ErrSessionDrained
	ErrMethodUnknown  = session.ErrMethodUnknown
	ErrBadArgument    = session.ErrBadArgument
	ErrTooLarge       = session.ErrTooLarge
	ErrMethod         = session.ErrMethod
	ErrWorkerPanic    = session.ErrWorkerPanic
	ErrWorkerLost     = session.ErrWorkerLost
	ErrWorkerHung     = session.ErrWorkerHung
	ErrWorkerDied     = session.ErrWorkerDied
	ErrDeadline       = session.ErrDeadline
	ErrCancelled      = session.ErrCancelled
	ErrClientDone     = session.ErrClientDone
	ErrHops           = session.ErrHops

	ErrNotRun  = session.NotRun  // the call certainly never started
	ErrUnknown = session.Unknown // the call may have run, no answer is known
)

// errNoHit is HitSession outside a hit.
var errNoHit = errors.New("client: no PerHit middleware around this handler")

// notRun is the error of a call that certainly never started, as this side has
// concluded by itself.
func notRun(code session.Code, text string) *session.Error {
	return &session.Error{Code: code, Outcome: session.NotRun, Text: text}
}

// neverSent is the error of a call that was given up before the core had it.
func neverSent(why session.Code) *session.Error { return notRun(why, "never sent") }
