package session

import (
	"errors"
	"fmt"
	"maps"
)

// Code says what went wrong. It is an error itself, so that
// errors.Is(err, session.ErrWorkerLost) asks for one. Codes travel as uint16:
// they are never renumbered, docs/protocol.md lists them.
type Code uint16

// What went wrong, by who has to act. 1 to 19: the sender did something wrong.
const (
	ErrBadMessage    Code = 1  // a frame or envelope that does not decode, or claims what cannot be
	ErrVersion       Code = 2  // no protocol version in common
	ErrKindUnknown   Code = 3  // a message kind this version does not have, or not from this peer
	ErrBadArgument   Code = 4  // the argument does not decode into what the method takes
	ErrMethodUnknown Code = 5  // the pool has no such method
	ErrPoolUnknown   Code = 6  // no node serves such a pool
	ErrLabelsUnknown Code = 7  // no worker of the pool carries the labels asked for
	ErrTooLarge      Code = 8  // over a size limit
	ErrFuture        Code = 9  // a call number beyond the window
	ErrPast          Code = 10 // a call number that was acknowledged already
	ErrRepeated      Code = 11 // a call number that was used with another body
	ErrAcknowledged  Code = 12 // an acknowledgement of what was never answered
	ErrEpoch         Code = 13 // an epoch that was never given out
	ErrTokenInvalid  Code = 14 // a token that is forged, cut short, or from elsewhere
	ErrStream        Code = 15 // a chunk or a credit that cannot be
)

// 20 to 39: the session is not, or no longer, the sender's.
const (
	ErrSessionUnknown Code = 20 // no such session on that node
	ErrSessionForeign Code = 21 // the session exists, the key is not its key
	ErrSessionClosed  Code = 22 // its holder closed it
	ErrSessionMoved   Code = 23 // another holder attached to it
	ErrSessionExpired Code = 24 // its lease, idle limit or absolute limit passed
	ErrSessionDrained Code = 25 // its node was drained and the deadline passed
)

// 40 to 59: nobody can take it now.
const (
	ErrOverloaded  Code = 40 // a bounded queue or table is full
	ErrNoWorker    Code = 41 // no slot came free before the wait was over
	ErrRecovering  Code = 42 // the broker waits for its nodes to come back: try again
	ErrDraining    Code = 43 // the broker or node is shutting down: try another one
	ErrOpenFailed  Code = 44 // the worker's own Open failed
	ErrWithdrawn   Code = 45 // the open was withdrawn by its client
	ErrUnreachable Code = 46 // no broker answers
	ErrReplyGone   Code = 47 // the call was done; its reply is no longer kept
)

// 60 to 79: what became of the call or its worker.
const (
	ErrMethod      Code = 60 // the method's own error
	ErrWorkerPanic Code = 61 // the handler panicked; its session has ended
	ErrWorkerLost  Code = 62 // the node died, or is cut off past the limit
	ErrWorkerHung  Code = 63 // the call passed its budget without a beat
	ErrDeadline    Code = 64 // the caller's time was over
	ErrCancelled   Code = 65 // the caller cancelled it
	ErrClientDone  Code = 66 // the client itself was closed
	ErrWorkerDied  Code = 67 // the program that served the session has ended; its node lives
	ErrHops        Code = 68 // the caller went on from pool to pool as often as it does
)

var codeNames = map[Code]string{
	ErrBadMessage: "bad message", ErrVersion: "no protocol version in common", ErrKindUnknown: "unknown message kind",
	ErrBadArgument: "bad argument", ErrMethodUnknown: "unknown method", ErrPoolUnknown: "unknown pool",
	ErrLabelsUnknown: "no worker with these labels", ErrTooLarge: "too large", ErrFuture: "call number beyond the window",
	ErrPast: "call number already acknowledged", ErrRepeated: "call number repeated with another body",
	ErrAcknowledged: "acknowledgement of what was never answered", ErrEpoch: "epoch never given out", ErrTokenInvalid: "invalid token",
	ErrStream:         "bad stream",
	ErrSessionUnknown: "unknown session", ErrSessionForeign: "session of somebody else", ErrSessionClosed: "session closed",
	ErrSessionMoved: "session moved to another holder", ErrSessionExpired: "session expired", ErrSessionDrained: "session drained",
	ErrOverloaded: "overloaded", ErrNoWorker: "no worker in time", ErrRecovering: "recovering", ErrDraining: "draining",
	ErrOpenFailed: "worker could not open the session", ErrWithdrawn: "open withdrawn", ErrUnreachable: "broker unreachable",
	ErrReplyGone: "done, reply gone",
	ErrMethod:    "method failed", ErrWorkerPanic: "worker panicked", ErrWorkerLost: "worker lost", ErrWorkerHung: "worker hung",
	ErrDeadline: "deadline passed", ErrCancelled: "cancelled", ErrClientDone: "client closed",
	ErrWorkerDied: "worker died", ErrHops: "hop limit passed",
}

// Error is the code's name, as logs and metrics write it.
func (c Code) Error() string {
	if name, ok := codeNames[c]; ok {
		return name
	}
	return fmt.Sprintf("code %d", uint16(c))
}

// Codes lists every code with its name, for the specification's test.
func Codes() map[Code]string {
	all := make(map[Code]string, len(codeNames))
	maps.Copy(all, codeNames)
	return all
}

// Retryable reports that the same request may be sent again as it is: the far
// side kept nothing of it and asks for patience.
func (c Code) Retryable() bool { return c == ErrRecovering }

// Outcome is what is known of a call that has ended. NotRun and Unknown are
// errors, so that errors.Is(err, session.NotRun) asks for them.
type Outcome uint8

// The three outcomes of the design page.
const (
	Done    Outcome = iota // a reply, or the method's own error
	NotRun                 // certainly never started
	Unknown                // may have started, no answer known
)

// Error is the outcome's name.
func (o Outcome) Error() string {
	switch o {
	case Done:
		return "done"
	case NotRun:
		return "not run"
	default:
		return "unknown outcome"
	}
}

// Error is how every failed open, call or session ends. errors.Is matches its
// Code, its Outcome where that is NotRun or Unknown, and whatever Cause wraps.
type Error struct {
	Code    Code
	Outcome Outcome
	Call    uint64 // the call's number, 0 where no call is meant
	Text    string // what there is to add, in the words of whoever found it
	Stack   string // where the handler was, if it is known
	Remote  bool   // the far side said so; otherwise it was inferred here
	Cause   error  // what was inferred from, or the context's error
}

// Error is one line: what, which call, outcome, the words of who found it.
func (e *Error) Error() string {
	s := e.Code.Error()
	if e.Text != "" {
		s += ": " + e.Text
	}
	switch {
	case e.Call != 0 && e.Outcome != Done:
		s += fmt.Sprintf(" (call %d, %s)", e.Call, e.Outcome.Error())
	case e.Outcome == Unknown:
		s += " (unknown outcome)"
	}
	if e.Cause != nil && e.Text == "" {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Is matches codes and outcomes.
func (e *Error) Is(target error) bool {
	switch t := target.(type) {
	case Code:
		return e.Code == t
	case Outcome:
		return t != Done && e.Outcome == t
	}
	return false
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Cause }

// CodeOf returns the code that err carries, 0 where it carries none.
func CodeOf(err error) Code {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	if c, ok := errors.AsType[Code](err); ok {
		return c
	}
	return 0
}

// Errorf is an error with a code: a handler that returns one with ErrBadArgument
// says that its caller's argument is wrong, in its own words.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}
