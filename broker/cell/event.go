package cell

import (
	"time"

	"github.com/limpet-rpc/limpet/heartbeat"
)

// Event is one change of a candidate's role.
type Event struct {
	At    time.Time
	From  heartbeat.Role
	To    heartbeat.Role
	About heartbeat.Holder // the holder of the lock that it concerns
	PID   int              // of that holder, 0 where it is not known
	Votes int              // against it
	Of    int              // candidates that could vote
	Why   string
}
