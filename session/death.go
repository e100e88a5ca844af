package session

// Death is why a worker's process died, as its supervisor found it. The zero
// Death is one that nobody explains.
type Death struct {
	Code Code   `json:"code"`           // how its calls end: ErrWorkerHung or ErrWorkerLost; 0: ErrWorkerLost
	Text string `json:"text"`           // one line
	Dump string `json:"dump,omitempty"` // what its goroutines or threads did, where the supervisor looked
}

// WithDefaults is the death as clients are told of it.
func (d Death) WithDefaults() Death {
	if d.Code == 0 {
		d.Code = ErrWorkerLost
	}
	if d.Text == "" {
		d.Text = "its process is dead"
	}
	return d
}
