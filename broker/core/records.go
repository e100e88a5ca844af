package core

// The records of opens are used again: one that is over, and that the list of
// offers has passed, is nobody's.

// sparesMost bounds the records that are kept for that, argsKeep the bytes for an
// argument that each keeps.
const (
	sparesMost = 256
	argsKeep   = 1024
)

// newOpen is an empty record, but for room for an argument.
func (c *Core) newOpen() *open {
	last := len(c.spares) - 1
	if last < 0 {
		return new(open)
	}
	o := c.spares[last]
	c.spares[last] = nil
	c.spares = c.spares[:last]
	*o = open{call: along{args: o.call.args[:0]}}
	return o
}

// repeatLater puts an offer that was just sent behind all others.
func (c *Core) repeatLater(o *open) {
	for len(c.offered) > 0 && c.offered[0].state == openOver {
		c.unlist()
	}
	o.listed++
	c.offered = append(c.offered, o)
}

// unlist takes the offer that was sent first from the list. It may be there again,
// or be no offer any more.
func (c *Core) unlist() {
	o := c.offered[0]
	c.offered[0] = nil
	c.offered = c.offered[1:]
	if o.listed--; o.listed == 0 && o.state == openOver && len(c.spares) < sparesMost {
		if cap(o.call.args) > argsKeep {
			o.call.args = nil
		}
		c.spares = append(c.spares, o)
	}
}
