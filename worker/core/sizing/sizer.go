package sizing

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Defaults of a Pool.
const (
	DefaultGrowAfter   = 500 * time.Millisecond
	DefaultShrinkAfter = time.Minute
)

// lendAfter is for how many GrowAfter slots have to be free before another pool
// gets them.
const lendAfter = 5

// Pool is one pool that grows and shrinks.
type Pool struct {
	Name        string
	Least, Most int           // slots
	GrowAfter   time.Duration // the wait of the longest that makes it grow, and the time between two steps
	ShrinkAfter time.Duration // for so long slots are not needed before they go
}

// Look is how a pool stands.
type Look struct {
	Slots   int
	Held    int // of them: everything but free
	Waiting int // opens that this node could take, had it more slots
	Share   int // of Waiting: this node's, where several serve the pool
	Oldest  time.Duration
	Told    time.Time // when a broker said so; zero: none has
}

// Change is one pool that is to have other slots.
type Change struct {
	Pool       string
	Was, Slots int
	Why        string
}

// Sizer sizes the pools of one node.
type Sizer struct {
	total int // of all pools; 0: no limit but their own
	pools []*pool
}

type pool struct {
	Pool
	Look
	need    recent // over ShrinkAfter
	idle    recent // over lendAfter x GrowAfter
	changed time.Time
	was     int // slots, before this step
	why     string
}

// New returns a sizer of pools that together have at most total slots; 0: as many
// as each may.
func New(total int, pools []Pool) *Sizer {
	s := &Sizer{total: total}
	for _, p := range pools {
		if p.GrowAfter <= 0 {
			p.GrowAfter = DefaultGrowAfter
		}
		if p.ShrinkAfter <= 0 {
			p.ShrinkAfter = DefaultShrinkAfter
		}
		s.pools = append(s.pools, &pool{Pool: p, need: recent{every: p.ShrinkAfter}, idle: recent{every: lendAfter * p.GrowAfter}})
	}
	slices.SortFunc(s.pools, func(a, b *pool) int { return cmp.Compare(a.Name, b.Name) })
	return s
}

// Step looks at every pool and says what is to change, by pool. Whoever does it
// only takes slots away that are free; what is left of a change is asked for
// again.
func (s *Sizer) Step(now time.Time, look func(pool string) Look) []Change {
	for _, p := range s.pools {
		p.Look = look(p.Name)
		p.was, p.why = p.Slots, ""
		p.need.add(now, p.Held+p.Share)
		p.idle.add(now, p.Held+p.Share)
	}
	for _, p := range s.pools {
		s.shrink(p)
	}
	for _, p := range s.byWait() {
		s.grow(now, p)
	}
	var changes []Change
	for _, p := range s.pools {
		if p.Slots != p.was {
			p.changed = now
			changes = append(changes, Change{Pool: p.Name, Was: p.was, Slots: p.Slots, Why: p.why})
		}
	}
	return changes
}

// shrink takes away what has not been needed.
func (s *Sizer) shrink(p *pool) {
	peak, whole := p.need.peak()
	if to := max(p.Least, peak); whole && to < p.Slots {
		p.why = fmt.Sprintf("at most %d of %d were in use for %s", peak, p.Slots, p.ShrinkAfter)
		p.Slots = to
	}
}

// byWait is the pools with the longest wait first.
func (s *Sizer) byWait() []*pool {
	return slices.SortedStableFunc(slices.Values(s.pools), func(a, b *pool) int { return cmp.Compare(b.Oldest, a.Oldest) })
}

// grow adds slots for who waits.
func (s *Sizer) grow(now time.Time, p *pool) {
	switch {
	case p.Share == 0 || p.Oldest < p.GrowAfter || p.Held < p.Slots || p.why != "":
		return
	case !p.changed.IsZero() && (now.Sub(p.changed) < p.GrowAfter || !p.Told.After(p.changed)):
		return // what it has just been given has not been told yet
	}
	more := min(p.Share, max(1, p.Slots), p.Most-p.Slots)
	if more = s.room(p, more); more <= 0 {
		return
	}
	p.why = fmt.Sprintf("%d wait, the longest for %s", p.Waiting, p.Oldest.Round(time.Millisecond))
	p.Slots += more
}

// room is how many of so many slots there are within the total, others' that
// they have left free among them.
func (s *Sizer) room(p *pool, more int) int {
	if s.total == 0 {
		return more
	}
	left := s.total
	for _, o := range s.pools {
		left -= o.Slots
	}
	left = max(0, left)
	for left < more {
		lender := s.lender(p)
		if lender == nil {
			break
		}
		lent := min(lender.spare(), more-left)
		lender.why = fmt.Sprintf("pool %.40s needs them: %d wait there, the longest for %s", p.Name, p.Waiting, p.Oldest.Round(time.Millisecond))
		lender.Slots -= lent
		left += lent
	}
	return min(more, left)
}

// lender is the pool that can best do without a slot, nil if none can.
func (s *Sizer) lender(but *pool) *pool {
	var best *pool
	for _, p := range s.pools {
		if p != but && p.spare() > 0 && (best == nil || p.spare() > best.spare()) {
			best = p
		}
	}
	return best
}

// spare is how many slots of a pool have been free for long enough.
func (p *pool) spare() int {
	peak, whole := p.idle.peak()
	if !whole {
		return 0
	}
	return p.Slots - max(p.Least, peak)
}
