package client

import (
	"github.com/limpet-rpc/limpet/client/core"
)

// What callers wait for, calls, opens and Closes, is left for the loop while it
// is awake, which gives the core all of it at once and sends it together; while
// it sleeps, or has ended, each caller does so himself, for whatever is left.
//
//	caller: leave -> loop awake -> wait for the end
//	            \--> loop asleep -> lock, take all that is left, send -> wait

// parcel is what one caller leaves. It is his again once its end has come.
type parcel struct {
	give   giver         // fixed
	of     *core.Session // whose call it is, or nil
	behind *parcel       // the one that was left before
}

// giver gives the core what was left, while mu is held; or ends it, where the
// client has been closed.
type giver interface {
	give(c *Client, fx *core.Effects)
}

// leave gives a parcel to whoever tells the core next. The effects are the
// caller's, for where that is he.
func (c *Client) leave(p *parcel, fx *core.Effects) {
	for {
		behind := c.left.Load()
		p.behind = behind
		if c.left.CompareAndSwap(behind, p) {
			break
		}
	}
	if c.loop.Awake() {
		return
	}
	first := c.left.Swap(nil)
	if first == nil {
		return // somebody else has taken it
	}
	fx.Reset()
	c.mu.Lock()
	c.take(first, fx)
	c.mu.Unlock()
	c.apply(fx)
}

// Left implements zmqio.Gatherer.
func (c *Client) Left() bool { return c.left.Load() != nil }

// Gather implements zmqio.Gatherer.
func (c *Client) Gather() {
	if first := c.left.Swap(nil); first != nil {
		c.onLoop(func() { c.take(first, &c.fx) })
	}
}

// take gives the core what was left up to latest, in the order in which it was,
// while mu is held.
func (c *Client) take(latest *parcel, fx *core.Effects) {
	var next *parcel
	many := c.core.Many()
	for p := latest; p != nil; {
		if many {
			p.of.Soon()
		}
		behind := p.behind
		p.behind = next
		p, next = behind, p
	}
	for next != nil {
		p := next
		next, p.behind = p.behind, nil
		p.give.give(c, fx)
	}
}
