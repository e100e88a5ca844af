package heartbeat

import "time"

// Pacer tells a loop when its own next beat is to be sent. It is asked from
// the loop that does the work, and from nowhere else: a beat says that this
// loop runs.
type Pacer struct {
	interval time.Duration
	next     time.Time // zero: at once
}

// NewPacer is a pacer whose first beat is due at once. The interval is taken
// as 1 ms to 24 h, as in Watch.
func NewPacer(interval time.Duration) *Pacer {
	p := &Pacer{}
	p.SetInterval(interval)
	return p
}

// SetInterval changes the interval from the next beat on; a beat that would
// come later than that is drawn nearer by the next Due.
func (p *Pacer) SetInterval(interval time.Duration) {
	p.interval = max(minInterval, min(maxInterval, interval))
}

// Due tells whether to send a beat now, and takes it as sent. A loop that asks
// a little late does not drift; one that missed beats sends one, not all.
func (p *Pacer) Due(now time.Time) bool {
	if limit := now.Add(p.interval); p.next.After(limit) {
		p.next = limit
	}
	if !p.next.IsZero() && now.Before(p.next) {
		return false
	}
	p.next = p.next.Add(p.interval)
	if !p.next.After(now) {
		p.next = now.Add(p.interval)
	}
	return true
}

// Next is when Due will say yes; the zero time for at once.
func (p *Pacer) Next() time.Time { return p.next }
