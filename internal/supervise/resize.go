package supervise

import (
	"fmt"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/worker/core/sizing"
)

// Elastic says which pools have more or fewer processes as opens wait for them.
// All of it is counted in processes.
type Elastic struct {
	Pools []sizing.Pool
	Total int // of all of them at most; 0: as many as each may have
	Each  int // slots of a process
}

func newSizer(e Elastic) *sizing.Sizer {
	if len(e.Pools) == 0 {
		return nil
	}
	return sizing.New(e.Total, e.Pools)
}

// resize starts processes for what waits, and has those end that nobody needs.
// A pool one of whose processes was drained stays as it is: it is being emptied.
func (s *Supervisor) resize(now time.Time) {
	if s.sizer == nil || s.stop {
		return
	}
	for _, c := range s.sizer.Step(now, s.lookAt) {
		if s.drained[c.Pool] {
			continue
		}
		done := 0
		for range c.Slots - c.Was {
			why := fmt.Sprintf("%d to %d processes: %s", c.Was, c.Slots, c.Why)
			s.seats = append(s.seats, newSeat(Share{Pool: c.Pool, Slots: s.o.Elastic.Each, Why: why}, now))
			done++
		}
		for range c.Was - c.Slots {
			if s.retire(c.Pool) {
				done++
			}
		}
		if done > 0 {
			s.o.Logger.Info("pool resized", "pool", c.Pool, "was", c.Was, "processes", c.Was+done*sign(c.Slots-c.Was), "why", c.Why)
		}
	}
}

func sign(n int) int {
	if n < 0 {
		return -1
	}
	return 1
}

// retire has the youngest process of a pool end in which no session is, as soon
// as those have ended that come meanwhile. It is false where there is none.
func (s *Supervisor) retire(pool string) bool {
	for _, t := range slices.Backward(s.seats) {
		p := t.process
		if t.share.Pool != pool || !t.fills() || p == nil || p.phase != serving || p.load.Held > 0 || !p.load.Registered {
			continue
		}
		if err := p.link.send(message{Is: isRetire}, nil); err != nil {
			p.log.Warn("the worker process takes no orders", "error", err)
			continue
		}
		t.retired = true
		return true
	}
	return false
}

// fills reports that a seat has a process, or gets one.
func (t *seat) fills() bool { return !t.empty && !t.retired }

// lookAt is how a pool stands, by the last beats of its processes.
func (s *Supervisor) lookAt(pool string) (look sizing.Look) {
	slots, held, share := 0, 0, 0
	for _, t := range s.seats {
		if t.share.Pool != pool || !t.fills() {
			continue
		}
		look.Slots++
		slots += t.share.Slots
		p := t.process
		if p == nil || p.phase != serving {
			continue
		}
		held += p.load.Held
		if p.load.Waiting == 0 {
			continue
		}
		look.Waiting = max(look.Waiting, p.load.Waiting)
		look.Oldest = max(look.Oldest, p.load.Oldest)
		share += p.load.Share
		if told := p.told.Add(-p.load.Age); told.After(look.Told) {
			look.Told = told
		}
	}
	each := s.o.Elastic.Each
	look.Share = (min(look.Waiting, share) + each - 1) / each
	if look.Held = (held + each - 1) / each; held < slots {
		look.Held = min(look.Held, look.Slots-1)
	}
	return look
}

// sweep forgets the seats that stay empty because their pool has shrunk.
func (s *Supervisor) sweep() {
	s.seats = slices.DeleteFunc(s.seats, func(t *seat) bool { return t.empty && t.retired && len(t.evicted) == 0 })
}
