package core

import "time"

// desertedFor is how long the name of a pool is kept that no node serves any
// more: for so long opens of it wait, after that it is unknown.
const desertedFor = 10 * time.Minute

// forgetPools drops the pools that nobody has served for long and nobody waits
// for, so that names do not pile up.
func (c *Core) forgetPools(now time.Time) {
	if now.Before(c.looked.Add(desertedFor / 20)) {
		return
	}
	c.looked = now
	alone := map[string]time.Time{}
	for _, p := range c.table.Pools() {
		if p.Nodes > 0 || p.Waiting > 0 {
			continue
		}
		since, known := c.deserted[p.Name]
		if !known {
			since = now
		}
		if now.Sub(since) >= desertedFor && c.table.Forget(p.Name) {
			continue
		}
		alone[p.Name] = since
	}
	c.deserted = alone
}
