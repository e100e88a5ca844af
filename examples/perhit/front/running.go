package front

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/session"

	"github.com/limpet-rpc/limpet/examples/perhit/calls"
)

// Running is a hit as GET /hits shows it. Its session and place are empty until its
// first call has been answered.
type Running struct {
	Script  string `json:"script"`
	Session string `json:"session,omitempty"`
	PID     int    `json:"pid,omitempty"`
	Thread  int    `json:"thread,omitempty"`
	Millis  int64  `json:"ms"` // since the hit came in
}

// running is the set of the hits that are being answered.
type running struct {
	mu   sync.Mutex
	hits map[*hit]struct{} // guarded by mu, and so are the fields of every hit
}

type hit struct {
	script  string
	since   time.Time
	session session.ID
	place   calls.Place
}

func (r *running) enter(script string, now time.Time) *hit {
	h := &hit{script: script, since: now}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hits == nil {
		r.hits = make(map[*hit]struct{})
	}
	r.hits[h] = struct{}{}
	return h
}

func (r *running) leave(h *hit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.hits, h)
}

// place notes where the hit's session is; the first answer counts.
func (r *running) place(h *hit, id session.ID, at calls.Place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.place == (calls.Place{}) {
		h.session, h.place = id, at
	}
}

// answer is an Answer that names the hit's session and place, as far as known.
func (r *running) answer(h *hit) Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := h.running(h.since)
	return Answer{Session: seen.Session, PID: seen.PID, Thread: seen.Thread}
}

// list is every hit, the oldest first.
func (r *running) list(now time.Time) []Running {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Running, 0, len(r.hits))
	for h := range r.hits {
		list = append(list, h.running(now))
	}
	slices.SortFunc(list, func(a, b Running) int {
		return cmp.Or(cmp.Compare(b.Millis, a.Millis), cmp.Compare(a.Session, b.Session), cmp.Compare(a.Script, b.Script))
	})
	return list
}

// running shows the hit; the caller holds mu.
func (h *hit) running(now time.Time) Running {
	shown := Running{Script: h.script, PID: h.place.PID, Thread: h.place.Thread, Millis: now.Sub(h.since).Milliseconds()}
	if h.session != (session.ID{}) {
		shown.Session = h.session.String()
	}
	return shown
}
