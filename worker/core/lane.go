package core

import (
	"errors"
	"fmt"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// The sessions of a pool with lanes share the pool's threads: each belongs to
// one lane from its offer to its end, and a lane runs one thing at a time, an
// Open, a call or a Close. Sessions with something to run wait for their turn
// in the order in which they got it, each for one thing, so that one with many
// calls does not hold up the others. Nothing is handed over before its turn: a
// call that waits can be cancelled as not run, its deadline is looked at last,
// and its budget begins with its handler.
//
// A lane on which a call is found to hang is given up: of its other sessions
// those that are open end as hung too, their calls not run, for their thread is
// lost to them, and they may not be moved to another. Their slots are
// quarantined with the first, until its handler has returned and their Close
// could run; a bare pool's are free at once. Who only waits for Open goes to
// another lane. The lane is back when the handler has returned.

// lane is one thread that serves many sessions.
type lane struct {
	number      int
	held        int // sessions that belong to it
	busy        *Session
	first, last *Session // they wait for their turn, linked by ahead and behind
	hung        bool     // what it is busy with was found to hang
	granting    bool     // by grant: who has been picked need not queue again
}

// errNoLane declines an offer where every lane hangs.
var errNoLane = errors.New("a call hangs on every lane")

// errNotOpened ends an open whose turn never came.
var errNotOpened = errors.New("given up before Open ran")

// laneFor is the lane with the fewest sessions, of those that do not hang; one
// whose call is being looked at comes last. It is nil where there is none.
func (p *pool) laneFor() *lane {
	var best *lane
	for _, l := range p.lanes {
		switch {
		case l.hung:
		case best == nil, best.suspect() && !l.suspect(), l.held < best.held && best.suspect() == l.suspect():
			best = l
		}
	}
	return best
}

func (l *lane) suspect() bool { return l.busy != nil && l.busy.exam != nil }

// Lane is the lane of the session, from 0, and -1 in a pool without lanes.
func (s *Session) Lane() int {
	if s.lane == nil {
		return -1
	}
	return s.lane.number
}

// join makes l the session's lane.
func (s *Session) join(l *lane) {
	s.lane = l
	l.held++
}

// quits gives the session's lane up, as its slot is.
func (s *Session) quits() {
	l := s.lane
	l.unqueue(s)
	l.held--
	if l.busy == s {
		l.busy, l.hung = nil, false
	}
}

// queue lets a session wait for its turn, once.
func (l *lane) queue(s *Session) {
	if s.queued {
		return
	}
	s.queued, s.ahead = true, l.last
	if l.last == nil {
		l.first = s
	} else {
		l.last.behind = s
	}
	l.last = s
}

func (l *lane) unqueue(s *Session) {
	if !s.queued {
		return
	}
	if s.ahead == nil {
		l.first = s.behind
	} else {
		s.ahead.behind = s.behind
	}
	if s.behind == nil {
		l.last = s.ahead
	} else {
		s.behind.ahead = s.ahead
	}
	s.queued, s.ahead, s.behind = false, nil, nil
}

// taken reports that another session goes first.
func (l *lane) taken() bool { return l.busy != nil || l.first != nil && !l.granting }

// vacate notes that what s ran on its lane has ended.
func (s *Session) vacate() {
	if l := s.lane; l != nil && l.busy == s {
		l.busy, l.hung = nil, false
	}
}

// grant gives a lane that is idle to those who wait for it, until it is busy.
func (c *Core) grant(now time.Time, l *lane, fx *Effects) {
	if l == nil || l.granting {
		return
	}
	l.granting = true
	for l.busy == nil && l.first != nil {
		s := l.first
		l.unqueue(s)
		switch s.state {
		case stateStarting:
			l.busy = s
			fx.Open = append(fx.Open, s)
		case stateOpen:
			c.next(now, s, fx)
		case stateClosing:
			l.busy = s
			fx.Stop = append(fx.Stop, Stop{Session: s, Why: s.why})
		}
	}
	l.granting = false
}

// cancelOpen ends the context of Open, or the whole open where it waits for its
// turn on a lane.
func (c *Core) cancelOpen(now time.Time, s *Session, fx *Effects) {
	if !s.queued {
		fx.Cancel = append(fx.Cancel, Cancel{Session: s})
		return
	}
	fx.Stop = append(fx.Stop, Stop{Session: s, Why: s.why, Over: true})
	c.OpenDone(now, s, errNotOpened, fx)
}

// strand gives up the lane of a session that was found to hang.
func (c *Core) strand(now time.Time, hung *Session, call uint64, fx *Effects) {
	l := hung.lane
	if l == nil {
		return
	}
	l.hung = true
	text := fmt.Sprintf("call %d of session %s hangs on the same lane", call, hung.id)
	for _, s := range c.Sessions() {
		if s.lane != l || s == hung {
			continue
		}
		if s.state == stateStarting {
			c.divert(now, s, fx)
			continue
		}
		c.end(now, s, session.ErrWorkerHung, text, fx)
		if s.pool.Bare {
			c.closeQueued(now, s, fx)
			continue
		}
		c.quarantined++
		s.quarantined = true
		c.tell(s, fx)
	}
}

// divert gives an open that waits for a lane that hangs to another one, or, if
// there is none, back to the brokers.
func (c *Core) divert(now time.Time, s *Session, fx *Effects) {
	to := s.pool.laneFor()
	if to == nil {
		s.why = &session.Error{Code: session.ErrOverloaded, Text: errNoLane.Error(), Remote: true}
		c.cancelOpen(now, s, fx)
		return
	}
	s.quits()
	s.join(to)
	to.queue(s)
	c.grant(now, to, fx)
}

// closeQueued closes a session that waits for its turn with nothing left to
// run.
func (c *Core) closeQueued(now time.Time, s *Session, fx *Effects) {
	fx.Stop = append(fx.Stop, Stop{Session: s, Why: s.why, Over: true})
	c.Closed(now, s, fx)
}

// auditLanes checks that every session of the pool belongs to one lane, and
// that a lane that is idle keeps nobody waiting.
func (p *pool) auditLanes() error {
	held := make(map[*lane]int, len(p.lanes))
	for _, s := range p.slots {
		if s != nil && s.lane != nil {
			held[s.lane]++
		}
	}
	for i, l := range p.lanes {
		if held[l] != l.held || l.number != i {
			return fmt.Errorf("pool %q: lane %d counts %d sessions and has %d", p.Name, i, l.held, held[l])
		}
		if l.busy == nil && (l.first != nil || l.hung) || l.busy != nil && (l.busy.lane != l || p.slots[l.busy.slot] != l.busy) {
			return fmt.Errorf("pool %q: lane %d is idle with sessions waiting, or busy with another's", p.Name, i)
		}
		var last *Session
		for s := l.first; s != nil; s = s.behind {
			if !s.queued || s.lane != l || s.ahead != last || p.slots[s.slot] != s {
				return fmt.Errorf("pool %q: session %s waits for lane %d and is not its", p.Name, s.id, i)
			}
			last = s
		}
		if l.last != last {
			return fmt.Errorf("pool %q: the queue of lane %d is torn", p.Name, i)
		}
	}
	return nil
}
