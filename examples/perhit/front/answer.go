package front

import (
	"context"
	"errors"
	"net/http"

	"github.com/limpet-rpc/limpet/session"
)

// Answer is the JSON of a hit. One with an Error has no Result; it names the session
// and the place as far as the hit had got.
type Answer struct {
	Result  string `json:"result"`
	Session string `json:"session,omitempty"`
	PID     int    `json:"pid,omitempty"`
	Thread  int    `json:"thread,omitempty"` // of the operating system
	Calls   int    `json:"calls,omitempty"`  // in the hit's session

	Error   string `json:"error,omitempty"`
	Kind    string `json:"kind,omitempty"`    // the name of the session.Code, where the error has one
	Outcome string `json:"outcome,omitempty"` // of the call that failed: "done", "not run", "unknown outcome"
}

// failure is the HTTP status that an error of a hit stands for, and its words.
func failure(err error) (int, Answer) {
	a := Answer{Error: err.Error()}
	code := session.CodeOf(err)
	if code != 0 {
		a.Kind = code.Error()
	}
	if failed := (*session.Error)(nil); errors.As(err, &failed) {
		a.Outcome = failed.Outcome.Error()
	}
	switch {
	case code == session.ErrMethod, code == session.ErrBadArgument, code == session.ErrTooLarge:
		return http.StatusUnprocessableEntity, a // the script or its input is at fault
	case code == session.ErrWorkerHung, code == session.ErrDeadline, errors.Is(err, context.DeadlineExceeded) && code != session.ErrNoWorker:
		return http.StatusGatewayTimeout, a
	case elsewhere[code]:
		return http.StatusServiceUnavailable, a // another try may find a worker
	default:
		return http.StatusInternalServerError, a
	}
}

// elsewhere are the codes after which the same hit may well succeed.
var elsewhere = map[session.Code]bool{
	session.ErrPoolUnknown:    true,
	session.ErrSessionUnknown: true,
	session.ErrSessionExpired: true,
	session.ErrSessionDrained: true,
	session.ErrOverloaded:     true,
	session.ErrNoWorker:       true,
	session.ErrRecovering:     true,
	session.ErrDraining:       true,
	session.ErrOpenFailed:     true,
	session.ErrUnreachable:    true,
	session.ErrWorkerLost:     true,
	session.ErrClientDone:     true,
}
