package core

import (
	"fmt"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Sizes is how much a node holds in each of its tables.
type Sizes struct {
	Slots, Free int // of all pools, as large as they are now
	Opens       int // slots that are not free
	Sessions    int // open or closing
	Clients     int
	Clocks      int // sessions one of whose clocks runs
	Past        int // ended ones that are remembered; bounded
	PastBytes   int
	Declined    int // offers declined of late; bounded
	Watched     int // calls that run, and last looks at those that ran
	Quarantined int // slots whose handlers hang
	Errands     int // of broadcasts, not over
	Aside       int // that hold a place on the side lane, those that hang among them
	Castings    int // broadcasts that are remembered; bounded
	Flows       int // calls of which something travels as chunks, or is kept of it
	Roads       int // peers that replies travel to as chunks
	FlowBytes   int // kept of them
}

// Sizes counts what the node holds.
func (c *Core) Sizes() Sizes {
	s := Sizes{
		Opens: len(c.opens), Sessions: len(c.sessions), Clients: len(c.clients), Clocks: len(c.due),
		Past: c.past.all.Len(), PastBytes: c.past.bytes, Declined: len(c.declined.order),
		Watched: c.dog.Len(), Quarantined: c.quarantined,
	}
	s.Errands, s.Castings = c.castings.open, len(c.castings.all)
	for _, e := range c.castings.places {
		if e != nil {
			s.Aside++
		}
	}
	s.Flows, s.Roads = len(c.flows), len(c.roads)
	for _, f := range c.flows {
		in, out := f.kept()
		s.FlowBytes += in + out
	}
	for _, p := range c.pools {
		s.Slots += p.Slots
		s.Free += len(p.free)
	}
	return s
}

// Audit checks that the node's tables agree with each other: above all that
// slots are conserved. It is for tests and costs time in proportion to what is
// held.
func (c *Core) Audit() error {
	held, quarantined := 0, 0
	for _, s := range c.opens {
		if s.quarantined {
			quarantined++
		}
	}
	if quarantined != c.quarantined {
		return fmt.Errorf("%d slots are quarantined, %d are counted", quarantined, c.quarantined)
	}
	shared := 0
	for _, p := range c.pools {
		n, err := p.audit(c)
		if err != nil {
			return err
		}
		held += n
		if p.Most > 0 {
			shared += p.Slots
		}
	}
	if c.cfg.Shared > 0 && shared > c.cfg.Shared {
		return fmt.Errorf("%d slots of pools that share %d", shared, c.cfg.Shared)
	}
	if held != len(c.opens) {
		return fmt.Errorf("%d slots are held, %d opens are known", held, len(c.opens))
	}
	for id, s := range c.sessions {
		if s.id != id || c.opens[s.open] != s || s.state == stateStarting {
			return fmt.Errorf("session %s is listed under %s in state %d", s.id, id, s.state)
		}
		if kept := s.callee.Kept(); kept > s.limits().Window {
			return fmt.Errorf("session %s keeps %d numbers, its window is %d", s.id, kept, s.limits().Window)
		}
	}
	if err := c.auditClients(held); err != nil {
		return err
	}
	for i, k := range c.due {
		if s := k.of; s.place != i || s.state != stateOpen || !s.due.Equal(k.at) {
			return fmt.Errorf("session %s at place %d of the clocks says place %d, state %d", k.of.id, i, k.of.place, k.of.state)
		}
	}
	if err := c.auditErrands(); err != nil {
		return err
	}
	if err := c.auditFlows(); err != nil {
		return err
	}
	return c.past.audit()
}

// kept is how many bytes a flow keeps, each way.
func (f *flow) kept() (in, out int) {
	if f.in != nil {
		in = f.in.Kept()
	}
	if f.out != nil {
		out = f.out.Kept()
	}
	return in, out
}

func (c *Core) auditFlows() error {
	listed := 0
	for _, s := range c.opens {
		listed += len(s.flows)
	}
	if listed != len(c.flows) {
		return fmt.Errorf("%d flows are listed with their sessions, %d in all", listed, len(c.flows))
	}
	flying := map[wire.Peer]int{}
	for _, f := range c.flows {
		if f.s.flows[f.number] != f {
			return fmt.Errorf("the flow of call %d of session %s is not its session's", f.number, f.s.id)
		}
		in, out := f.kept()
		if in > c.cfg.Credit || out > c.cfg.Credit {
			return fmt.Errorf("the flow of call %d of session %s keeps %d and %d bytes, its bound is %d", f.number, f.s.id, in, out, c.cfg.Credit)
		}
		if f.out != nil {
			flying[f.from] += f.out.Counted()
		}
	}
	for peer, r := range c.roads {
		if r.Flying() != flying[peer] || r.Flying() > roadLanes*c.cfg.Road {
			return fmt.Errorf("%d bytes are on their way to peer %d, counted are %d, at most %d", flying[peer], peer, r.Flying(), roadLanes*c.cfg.Road)
		}
	}
	return nil
}

func (p *pool) audit(c *Core) (held int, err error) {
	free := make([]bool, len(p.slots))
	for _, slot := range p.free {
		if free[slot] || p.slots[slot] != nil {
			return 0, fmt.Errorf("pool %q: slot %d is free twice, or free and held", p.Name, slot)
		}
		free[slot] = true
	}
	for i, slot := range p.shut {
		if free[slot] || p.slots[slot] != nil || i > 0 && p.shut[i-1] >= slot {
			return 0, fmt.Errorf("pool %q: slot %d is shut, and free or held, or out of order", p.Name, slot)
		}
	}
	for slot, s := range p.slots {
		if s == nil {
			continue
		}
		held++
		if s.slot != slot || s.pool != p || c.opens[s.open] != s || s.incarnation != p.count[slot] {
			return 0, fmt.Errorf("pool %q: slot %d holds session %s, which says slot %d incarnation %d", p.Name, slot, s.id, s.slot, s.incarnation)
		}
	}
	if held+len(p.free) != p.Slots || p.Slots+len(p.shut) != len(p.slots) {
		return 0, fmt.Errorf("pool %q: %d held and %d free make no %d slots, or with %d that are shut no %d",
			p.Name, held, len(p.free), p.Slots, len(p.shut), len(p.slots))
	}
	if p.Most > 0 && (p.Slots < p.Least || p.Slots > p.Most) {
		return 0, fmt.Errorf("pool %q: %d slots, want %d to %d", p.Name, p.Slots, p.Least, p.Most)
	}
	return held, p.auditLanes()
}

func (c *Core) auditClients(held int) error {
	for id, cl := range c.clients {
		held -= cl.held
		var digest uint64
		for _, s := range cl.sessions {
			digest ^= session.Digest(s.id)
			if s.client != cl || s.state != stateOpen || c.sessions[s.id] != s {
				return fmt.Errorf("client %s lists session %s in state %d", id, s.id, s.state)
			}
		}
		if digest != cl.digest || cl.held < len(cl.sessions) || cl.held == 0 {
			return fmt.Errorf("client %s holds %d slots, %d sessions, digest %x, want %x", id, cl.held, len(cl.sessions), cl.digest, digest)
		}
	}
	if held != 0 {
		return fmt.Errorf("%d held slots are no client's", held)
	}
	return nil
}

func (p *past) audit() error {
	if all := p.all.Len(); p.byOpen.Len() > all || p.byID.Len() > all || all > pastMost {
		return fmt.Errorf("%d ended opens and %d ended sessions are remembered in a list of %d", p.byOpen.Len(), p.byID.Len(), all)
	}
	return nil
}
