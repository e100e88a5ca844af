//go:build linux

package cell

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/hostlock"
)

// pastMost bounds the events that Status shows.
const pastMost = 32

// tell notes what has happened, and says so.
func (c *Candidate) tell(t heartbeat.Turn) {
	e := Event{At: time.Now(), From: t.From, To: t.To, About: t.Holder, Votes: t.Votes, Of: t.Of, Why: t.Why}
	switch t.Holder.Candidate {
	case c.self:
		e.PID = c.me.PID
	case heartbeat.Candidate(c.holder.Candidate):
		e.PID = c.holder.PID
	}
	c.mu.Lock()
	if len(c.past) == pastMost {
		c.past = slices.Delete(c.past, 0, 1)
	}
	c.past = append(c.past, e)
	c.mu.Unlock()
	votes := ""
	if e.Of > 0 {
		votes = fmt.Sprintf("%d of %d", e.Votes, e.Of)
	}
	log := c.log.Info
	if t.To == heartbeat.Suspecting || t.From == heartbeat.Suspecting {
		log = c.log.Debug
	}
	log(t.To.String(), "was", t.From.String(), "about", t.Holder.String(), "pid", e.PID, "votes", votes, "why", t.Why)
	if c.o.Event != nil {
		c.o.Event(e)
	}
}

// Status is what a candidate knows of its cell.
type Status struct {
	Dir        string
	Cell       uuid.UUID
	Self       heartbeat.Candidate
	Role       heartbeat.Role
	Epoch      uint64 // the highest that is known
	Limit      time.Duration
	PairKills  bool
	Holder     heartbeat.Holder // of the lock; zero: not known
	Silent     time.Duration    // since the holder was heard; 0 for a master
	Votes      int              // against it
	Of         int              // candidates that could vote
	Candidates []Peer           // by id
	Past       []Event          // the latest, oldest first
}

// Peer is one candidate as it is recorded in the cell.
type Peer struct {
	Candidate heartbeat.Candidate
	PID       int
	Program   string
	Endpoint  string
}

// Status takes a snapshot. It waits for nothing but a short lock.
func (c *Candidate) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.election.Standing(time.Now())
	s := Status{
		Dir: c.cell.Dir(), Cell: c.cell.ID(), Self: c.self, Role: e.Role, Epoch: e.Epoch, Limit: c.o.Limit, PairKills: c.o.PairKills,
		Holder: e.Holder, Silent: e.Silent, Votes: e.Votes, Of: e.Of, Past: slices.Clone(c.past),
	}
	for _, h := range c.roster {
		s.Candidates = append(s.Candidates, peerOf(h))
	}
	return s
}

func peerOf(h hostlock.Holder) Peer {
	return Peer{Candidate: heartbeat.Candidate(h.Candidate), PID: h.PID, Program: h.Exe.Path, Endpoint: h.Endpoint}
}

// Broker is the broker that this candidate runs as master, nil while it is
// none.
func (c *Candidate) Broker() *broker.Server {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.server
}
