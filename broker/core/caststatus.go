package core

import (
	"cmp"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// CastStatus is one broadcast: under way, or complete and not yet confirmed by
// its client.
type CastStatus struct {
	Client   string   `json:"client"`
	Pool     string   `json:"pool"`
	Method   string   `json:"method"`
	Sessions bool     `json:"sessions"` // its members are open sessions, not nodes
	Members  int      `json:"members"`  // of its snapshot
	Answered int      `json:"answered"`
	Other    int      `json:"other"` // that have ended as anything else
	Age      float64  `json:"age_seconds"`
	WaitsFor []string `json:"waits_for"` // names of nodes with members that have not ended, at most 16
}

// waitsMost bounds the nodes that a broadcast's status names.
const waitsMost = 16

// castStatus lists the broadcasts, the oldest first. There are at most
// castsMost.
func (c *Core) castStatus(now time.Time, s *Status) {
	for _, b := range c.castsInOrder() {
		s.Casts = append(s.Casts, b.status(now))
	}
	slices.SortStableFunc(s.Casts, func(a, b CastStatus) int { return cmp.Compare(b.Age, a.Age) })
}

func (b *broadcast) status(now time.Time) CastStatus {
	answered := int(b.counts[session.FateAnswered])
	s := CastStatus{
		Client: clientName(b.client), Pool: b.ask.Pool, Method: b.ask.Method, Sessions: b.sessions, Members: len(b.members),
		Answered: answered, Other: int(b.last) - answered, Age: now.Sub(b.since).Seconds(), WaitsFor: []string{},
	}
	for _, p := range b.parts {
		if p.open > 0 {
			s.WaitsFor = append(s.WaitsFor, p.name)
		}
	}
	slices.Sort(s.WaitsFor)
	s.WaitsFor = s.WaitsFor[:min(len(s.WaitsFor), waitsMost)]
	return s
}
