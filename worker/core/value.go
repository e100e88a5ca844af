package core

import (
	"fmt"
	"unicode/utf8"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// Say takes what the node says of itself for one of its pools, for the policies
// that look at it (assigner.Equal). Brokers learn it with the next beat, which is
// sent at once. A value of more than 255 bytes, or that is not UTF-8, is an error,
// and the one before stays.
func (c *Core) Say(pool, value string) error {
	p := c.pools[pool]
	switch {
	case p == nil || !p.Valued || p.value == value:
		return nil
	case len(value) > wire.MaxName:
		return fmt.Errorf("value of pool %q: %d bytes, at most %d", pool, len(value), wire.MaxName)
	case !utf8.ValidString(value):
		return fmt.Errorf("value of pool %q: not UTF-8", pool)
	}
	p.value = value
	c.beatSoon()
	return nil
}

// values are what the pools say that say anything.
func (c *Core) values() map[string]string {
	var all map[string]string
	for name, p := range c.pools {
		if p.Valued {
			if all == nil {
				all = map[string]string{}
			}
			all[name] = p.value
		}
	}
	return all
}
