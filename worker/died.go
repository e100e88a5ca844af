package worker

import "github.com/limpet-rpc/limpet/session"

// DiedError is what a handler returns when what serves its session is gone,
// such as a program that has ended. It ends the session: its call ends with
// session.ErrWorkerDied, as unknown or not run, and the later ones are not run.
type DiedError struct {
	Text   string // how it ended
	NotRun bool   // the call certainly never started there
}

// Error is its text.
func (e *DiedError) Error() string { return e.Text }

func (e *DiedError) reply() session.Reply {
	outcome := session.Unknown
	if e.NotRun {
		outcome = session.NotRun
	}
	return failure(session.ErrWorkerDied, outcome, e.Text, "")
}
