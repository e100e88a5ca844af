package core

import (
	"fmt"

	"github.com/limpet-rpc/limpet/session"
)

// Sizes is how much a client holds in each of its tables.
type Sizes struct {
	Opens    int // not answered, or being withdrawn
	Casts    int // broadcasts that have not ended
	Attaches int // not answered
	Sessions int // not over
	Leases   int // nodes whose leases are kept
	Directs  int // nodes that have a direct path, or had one lately
	Retries  int // sessions with something to send again
	Inflows  int // replies that come as chunks
	Roads    int // peers that arguments travel to as chunks
	Spare    int // buffers kept for reuse; bounded
}

// Sizes counts what the client holds.
func (c *Core) Sizes() Sizes {
	return Sizes{
		Opens: len(c.opens), Casts: len(c.casts), Attaches: len(c.attaches), Sessions: len(c.sessions), Leases: len(c.nodes), Directs: len(c.directs),
		Inflows: c.inflows, Roads: len(c.roads), Retries: c.retries.len(), Spare: len(c.spare),
	}
}

// Audit checks that the client's tables agree with each other. It is for tests
// and costs time in proportion to what is held.
func (c *Core) Audit() error {
	for id, n := range c.nodes {
		var d uint64
		for sid, s := range n.sessions {
			d ^= session.Digest(sid)
			if s.node != n || c.sessions[sid] != s {
				return fmt.Errorf("node %s lists session %s, which is not held", id, sid)
			}
		}
		if d != n.digest || len(n.sessions) == 0 {
			return fmt.Errorf("node %s has %d sessions with digest %x, want %x", id, len(n.sessions), n.digest, d)
		}
	}
	if err := c.auditSessions(); err != nil {
		return err
	}
	if err := c.auditDirects(); err != nil {
		return err
	}
	if err := c.auditFlows(); err != nil {
		return err
	}
	return c.auditRetries()
}

func (c *Core) auditRetries() error {
	for i, s := range c.retries.heap {
		if s.place != i || c.sessions[s.route.Session] != s {
			return fmt.Errorf("session %s at place %d of the retries says place %d, or is over", s.route.Session, i, s.place)
		}
	}
	lined, ahead := 0, (*Session)(nil)
	for s := c.retries.first; s != nil; ahead, s = s, s.behind {
		if s.place != placeLine || s.ahead != ahead || c.sessions[s.route.Session] != s {
			return fmt.Errorf("session %s in the line of the retries says place %d, or is over", s.route.Session, s.place)
		}
		if ahead != nil && s.wake.Before(ahead.wake) {
			return fmt.Errorf("session %s stands in line behind one whose moment comes later", s.route.Session)
		}
		lined++
	}
	if lined != c.retries.lined || ahead != c.retries.last {
		return fmt.Errorf("%d sessions stand in line, %d are counted", lined, c.retries.lined)
	}
	return nil
}

func (c *Core) auditSessions() error {
	for id, s := range c.sessions {
		if s.route.Session != id {
			return fmt.Errorf("session %s is listed under %s", s.route.Session, id)
		}
		if s.place == placeNone && (s.closing || s.calls.InFlight() > 0) {
			return fmt.Errorf("session %s has something to send again and nobody to look at it", id)
		}
		if len(s.pending) > 0 && s.calls.InFlight() == 0 {
			return fmt.Errorf("calls of session %s wait behind none", id)
		}
	}
	var over error
	c.nearby.Each(func(s *Session) {
		if c.sessions[s.route.Session] != s {
			over = fmt.Errorf("session %s is found, and is over", s.route.Session)
		}
	})
	return over
}

func (c *Core) auditFlows() error {
	inflows := 0
	for _, s := range c.sessions {
		for _, n := range s.calls.All() {
			f, _ := s.calls.Get(n)
			w := f.flow
			if w == nil || w.over {
				continue
			}
			if w.in != nil {
				inflows++
			}
			if w.in != nil && w.in.Kept() > c.cfg.Credit || w.out != nil && w.out.Kept() > c.cfg.Credit {
				return fmt.Errorf("the flow of call %d of session %s keeps more than %d bytes", n, s.route.Session, c.cfg.Credit)
			}
		}
	}
	if inflows != c.inflows {
		return fmt.Errorf("%d replies come as chunks, %d are counted", inflows, c.inflows)
	}
	for peer, r := range c.roads {
		if r.Empty() || r.Flying() > c.cfg.Road {
			return fmt.Errorf("%d bytes are on their way to peer %d, at most %d", r.Flying(), peer, c.cfg.Road)
		}
	}
	return nil
}

func (c *Core) auditDirects() error {
	count := map[*direct]int{}
	for _, s := range c.sessions {
		if s.direct != nil {
			count[s.direct]++
		}
	}
	for id, d := range c.directs {
		if count[d] != d.sessions || d.node != id || (d.peer != 0) != (c.directAt[d.peer] == d) || d.up && d.peer == 0 {
			return fmt.Errorf("the direct path to node %s (peer %d, up %v) counts %d sessions, there are %d", id, d.peer, d.up, d.sessions, count[d])
		}
	}
	return nil
}
