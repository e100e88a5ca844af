package core

import (
	"maps"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// before are the nodes that the master before had and that are not back yet.
// Once there are none left nobody else can know of an open that was taken: an
// heir need not wait for its recovery's end to judge opens. Calls to nodes that
// it does not know are put off until then all the same.
type before map[session.NodeID]bool

func newBefore(nodes []session.NodeID) before {
	b := make(before, len(nodes))
	for _, id := range nodes {
		b[id] = true
	}
	return b
}

// knowsOpens reports whether whatever was taken before this broker's start is
// known to it by now.
func (c *Core) knowsOpens(now time.Time) bool {
	return !c.Recovering(now) || c.cfg.Heir && len(c.before) == 0
}

// Heritage is what the next master has to wait for: the nodes that are known,
// and those that are not back yet, sorted.
func (c *Core) Heritage() []session.NodeID {
	all := maps.Clone(c.before)
	for id := range c.nodes {
		all[id] = true
	}
	return slices.Sorted(maps.Keys(all))
}
