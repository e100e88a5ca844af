package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"github.com/limpet-rpc/limpet/internal/zmqio"
	"github.com/limpet-rpc/limpet/session"
)

// Exit codes. Scripts rely on them: none is ever given another meaning.
const (
	exitOK          = 0
	exitOther       = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitRefused     = 4
	exitMethod      = 5
	exitLost        = 6
	exitTimeout     = 7
	exitInterrupted = 130
)

// exits is the table that the help shows.
var exits = []struct {
	code    int
	meaning string
}{
	{exitOK, "done"},
	{exitOther, "anything else, such as a port in use, or a full disk"},
	{exitUsage, "wrong usage: a command, flag, variable, endpoint, or argument that is no JSON"},
	{exitUnreachable, "no broker, or no admin page, answers there"},
	{exitRefused, "refused, nothing ran: no such pool, node, session, method or labels, an argument that does not fit, a full queue"},
	{exitMethod, "the method's own error, or a worker that failed to open the session"},
	{exitLost, "the worker or the session is lost; the call may have run, or not: the text says which"},
	{exitTimeout, "no worker came free in time, or the call took longer than it may"},
	{exitInterrupted, "interrupted by Ctrl-C or SIGTERM; a broker ends with 0 then"},
}

// exitOf says how each code ends the program; those that are not here are
// exitOther.
var exitOf = map[session.Code]int{
	session.ErrUnreachable: exitUnreachable, session.ErrVersion: exitUnreachable,

	session.ErrBadArgument: exitRefused, session.ErrMethodUnknown: exitRefused, session.ErrPoolUnknown: exitRefused,
	session.ErrLabelsUnknown: exitRefused, session.ErrTooLarge: exitRefused, session.ErrBadMessage: exitRefused,
	session.ErrOverloaded: exitRefused, session.ErrRecovering: exitRefused, session.ErrDraining: exitRefused,

	session.ErrMethod: exitMethod, session.ErrWorkerPanic: exitMethod, session.ErrOpenFailed: exitMethod,

	session.ErrSessionUnknown: exitLost, session.ErrSessionForeign: exitLost, session.ErrSessionClosed: exitLost,
	session.ErrSessionMoved: exitLost, session.ErrSessionExpired: exitLost, session.ErrSessionDrained: exitLost,
	session.ErrWorkerLost: exitLost, session.ErrWorkerHung: exitLost, session.ErrWorkerDied: exitLost,
	session.ErrReplyGone: exitLost,

	session.ErrNoWorker: exitTimeout, session.ErrDeadline: exitTimeout,
	session.ErrCancelled: exitInterrupted,
}

// usageError is the user's to put right.
type usageError struct{ error }

// Unwrap is what is wrong.
func (e usageError) Unwrap() error { return e.error }

// refusedError is what a broker would not begin.
type refusedError struct{ why string }

// Error is why not.
func (e refusedError) Error() string { return e.why }

// errInterrupted is a signal that ended the program.
var errInterrupted = fmt.Errorf("interrupted: %w", session.ErrCancelled)

// exitCode is the code that an error ends the program with.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[zmqio.EndpointError](err); ok {
		return exitUsage
	}
	if _, ok := errors.AsType[refusedError](err); ok {
		return exitRefused
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok { // a call is cancelled whose file fails
		return exitOther
	}
	if code, ok := exitOf[session.CodeOf(err)]; ok {
		return code
	}
	switch {
	case errors.Is(err, session.ErrUnreachable):
		return exitUnreachable
	case errors.Is(err, session.Unknown):
		return exitLost
	case errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	}
	return exitOther
}

// advice is what to do about an error, empty where the error says it all.
func advice(err error) string {
	switch session.CodeOf(err) {
	case session.ErrUnreachable:
		return "'limpet broker' starts one, --broker or LIMPET_BROKER names another"
	case session.ErrVersion:
		return "use a limpet of the broker's version"
	case session.ErrPoolUnknown:
		return "'limpet status' lists the pools"
	case session.ErrLabelsUnknown:
		return "'limpet status' lists the nodes with their labels"
	case session.ErrNoWorker:
		return "'limpet status' shows who holds the slots; --wait waits longer"
	case session.ErrOverloaded:
		return "try again later; 'limpet status' shows the queue"
	case session.ErrDraining:
		return "try another broker or node"
	default:
		return ""
	}
}

func newExitCodes() *cobra.Command {
	var table strings.Builder
	for _, e := range exits {
		fmt.Fprintf(&table, "  %3d  %s\n", e.code, e.meaning)
	}
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long:  "Scripts can tell by the exit code what became of a command:\n\n" + strings.TrimRight(table.String(), "\n"),
	}
}
