package heartbeat

import (
	"math"
	"time"
)

// clock is the time during which the monitor was awake. It starts with the
// first time it is told and stands still from the last Check before a nap to the
// end of the nap; finding one therefore takes it back to that Check.
type clock struct {
	origin time.Time
	latest time.Duration // since origin, as told
	check  time.Duration // the last Check, or the nap found since, as told
	slept  time.Duration
	naps   uint64

	found  bool // a nap was found since the last Check
	late   bool // one was found before that Check too
	pardon bool // the next Check accuses nobody
}

func (c *clock) now() time.Duration { return c.latest - c.slept }

// when is the inverse of now.
func (c *clock) when(at time.Duration) time.Time { return c.origin.Add(at + c.slept) }

// tell takes in the time. If no Check has come for longer than limit, the
// process did not run, or had no time to look: all since the last Check does
// not count. Where one late Check follows another, limit of it does count, so
// that even a monitor that is always late finds out in the end.
func (c *clock) tell(now time.Time, limit time.Duration) time.Duration {
	if c.origin.IsZero() {
		c.origin = now
	}
	c.latest = max(c.latest, now.Sub(c.origin))
	if gap := c.latest - c.check; gap > limit {
		c.nap(gap, limit)
	}
	return c.now()
}

func (c *clock) nap(gap, limit time.Duration) {
	c.naps++
	c.found = true
	c.check = c.latest
	if c.late {
		c.slept += gap - limit
		return
	}
	c.slept += gap
	c.pardon = true
}

// idle takes in the time while nobody is watched and Check need not be called.
func (c *clock) idle(now time.Time) time.Duration {
	at := c.tell(now, math.MaxInt64)
	c.check = c.latest
	return at
}

// checked notes a Check at the latest time and tells whether it may accuse.
func (c *clock) checked() bool {
	pardon := c.pardon
	c.late, c.found, c.pardon = c.found, false, false
	c.check = c.latest
	return !pardon
}
