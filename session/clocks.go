package session

import "time"

// Clocks are the three clocks of one open session, as its worker keeps them:
// the holder's lease, the idle limit, the absolute limit. A limit of zero does
// not run.
type Clocks struct {
	opened time.Time
	beat   time.Duration // the holder's last sign of life, since opened
	call   time.Duration // the last call's arrival or end, likewise
	busy   bool
	limits Limits
}

// The names of the three clocks, as an ended session's error gives them.
const (
	ClockLease  = "lease"
	ClockIdle   = "idle limit"
	ClockMaxAge = "absolute limit"
)

// NewClocks starts all three.
func NewClocks(now time.Time, l Limits) Clocks {
	return Clocks{limits: l, opened: now}
}

// Beat is a sign of life of the holder, at a moment that may be past.
func (c *Clocks) Beat(at time.Time) {
	c.beat = max(c.beat, at.Sub(c.opened))
}

// Call is a call's arrival: a sign of life, and the end of idleness.
func (c *Clocks) Call(now time.Time) {
	c.call, c.busy = now.Sub(c.opened), true
	c.beat = c.call
}

// Rest is the end of the last call that was in hand.
func (c *Clocks) Rest(now time.Time) { c.call, c.busy = now.Sub(c.opened), false }

// Expired says which clock has run out by now, empty if none has.
func (c *Clocks) Expired(now time.Time) (which string) {
	due, which := c.Next()
	if which == "" || now.Before(due) {
		return ""
	}
	return which
}

// Next returns when the first clock runs out and its name: lease, idle limit
// or absolute limit; empty if none runs.
func (c *Clocks) Next() (due time.Time, which string) {
	earlier := func(at time.Time, name string) {
		if which == "" || at.Before(due) {
			due, which = at, name
		}
	}
	if c.limits.Lease > 0 {
		earlier(c.opened.Add(c.beat+c.limits.Lease), ClockLease)
	}
	if c.limits.Idle > 0 && !c.busy {
		earlier(c.opened.Add(c.call+c.limits.Idle), ClockIdle)
	}
	if c.limits.MaxAge > 0 {
		earlier(c.opened.Add(c.limits.MaxAge), ClockMaxAge)
	}
	return due, which
}

// Idle returns for how long no call has been in hand.
func (c *Clocks) Idle(now time.Time) time.Duration {
	if c.busy {
		return 0
	}
	return now.Sub(c.opened) - c.call
}

// Opened returns when the session was opened.
func (c *Clocks) Opened() time.Time { return c.opened }

// Limits returns the limits in force.
func (c *Clocks) Limits() Limits { return c.limits }
