package front

import (
	"testing"

	"github.com/limpet-rpc/limpet/session"
)

// A request whose session ends before its call can begin gets a new one where the
// rule is to renew; one that may have run, or that waits for what is no session's
// end, does not.
func TestSessionThatEndsUnderARequestIsRenewed(t *testing.T) {
	for _, test := range []struct {
		lost  string
		err   *session.Error
		again bool
	}{
		{lostRenew, &session.Error{Code: session.ErrSessionExpired, Outcome: session.NotRun}, true},
		{lostRenew, &session.Error{Code: session.ErrWorkerDied, Outcome: session.NotRun}, true},
		{lostGone, &session.Error{Code: session.ErrSessionExpired, Outcome: session.NotRun}, false},
		{lostRenew, &session.Error{Code: session.ErrWorkerDied, Outcome: session.Unknown}, false},
		{lostRenew, &session.Error{Code: session.ErrWorkerPanic}, false},
		{lostRenew, &session.Error{Code: session.ErrSessionMoved, Outcome: session.NotRun}, false},
		{lostRenew, &session.Error{Code: session.ErrClientDone, Outcome: session.NotRun}, false},
		{lostRenew, &session.Error{Code: session.ErrOverloaded, Outcome: session.NotRun}, false},
	} {
		y := &way{route: &Route{Idempotent: true}, table: newTable(nil, Sessions{Lost: test.lost})}
		if got := y.again(test.err); got != test.again {
			t.Errorf("%s, %v: it is made again: %t", test.lost, test.err, got)
		}
	}
}
