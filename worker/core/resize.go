package core

import (
	"fmt"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/worker/core/sizing"
)

// A pool that grows and shrinks has a place for each slot that it may ever have;
// those that it has not got are shut. A slot is opened and shut while it is free,
// so every other keeps its session, and a slot that was shut goes on counting its
// incarnations. Brokers are told by a beat, and what they offer meanwhile is
// judged as ever: declined, if no slot is free.

// newSizer is the judge of the pools that grow, nil where none does.
func newSizer(cfg *Config) *sizing.Sizer {
	var elastic []sizing.Pool
	for i := range cfg.Pools {
		if p := &cfg.Pools[i]; p.Most > 0 {
			elastic = append(elastic, sizing.Pool{Name: p.Name, Least: p.Least, Most: p.Most, GrowAfter: p.GrowAfter, ShrinkAfter: p.ShrinkAfter})
		}
	}
	if len(elastic) == 0 {
		return nil
	}
	return sizing.New(cfg.Shared, elastic)
}

// resize grows and shrinks the pools that do. While no broker says what waits
// they stay as they are.
func (c *Core) resize(now time.Time, fx *Effects) {
	if c.sizer == nil || c.draining || !c.Registered() {
		return
	}
	for _, change := range c.sizer.Step(now, c.LookAt) {
		p := c.pools[change.Pool]
		if p.resize(change.Slots); p.Slots == change.Was {
			continue
		}
		change.Slots = p.Slots
		p.last, p.since = change, now
		fx.Resized = append(fx.Resized, Resized{Pool: p.Name, Slots: p.Slots})
		fx.Events = append(fx.Events, Event{What: EventResized, Pool: p.Name, Text: fmt.Sprintf("%d to %d slots: %s", change.Was, p.Slots, change.Why)})
		c.beatSoon()
	}
}

// LookAt is how a pool stands: here, and by the word of all brokers together.
func (c *Core) LookAt(pool string) sizing.Look {
	p := c.pools[pool]
	look := sizing.Look{Slots: p.Slots, Held: p.Slots - len(p.free)}
	for _, b := range c.brokers {
		for i := range b.queues {
			q := &b.queues[i]
			if !b.registered || q.Pool != pool || q.Waiting == 0 {
				continue
			}
			nodes := max(1, int(q.Nodes))
			look.Waiting += int(q.Waiting)
			look.Share += (int(q.Waiting) + nodes - 1) / nodes
			look.Oldest = max(look.Oldest, time.Duration(q.Oldest)*time.Millisecond)
			if b.told.After(look.Told) {
				look.Told = b.told
			}
		}
	}
	return look
}

// resize opens shut slots, the lowest first, or shuts free ones, the highest
// first, until the pool has n or there are no more.
func (p *pool) resize(n int) {
	if more := min(n-p.Slots, len(p.shut)); more > 0 {
		p.free = append(p.free, p.shut[:more]...)
		p.shut = slices.Clone(p.shut[more:])
		p.Slots += more
	}
	if less := min(p.Slots-n, len(p.free)); less > 0 {
		order := slices.Sorted(slices.Values(p.free))
		going := order[len(order)-less:]
		p.free = slices.DeleteFunc(p.free, func(slot int) bool { return slot >= going[0] })
		p.shut = append(p.shut, going...)
		slices.Sort(p.shut)
		p.Slots -= less
	}
}

// sizes tells brokers how large the pools are that grow and shrink, and why.
func (c *Core) sizes(now time.Time) (all []wire.Size) {
	for i := range c.cfg.Pools {
		if c.cfg.Pools[i].Most == 0 {
			continue
		}
		p := c.pools[c.cfg.Pools[i].Name]
		s := wire.Size{Pool: p.Name, Slots: p.Slots, Was: p.last.Was, Why: p.last.Why}
		if s.Why != "" {
			s.Ago = wire.Millis(now.Sub(p.since))
		}
		all = append(all, s)
	}
	return all
}
