package client

import (
	"github.com/limpet-rpc/limpet/client/core"
)

// Calls that their callers wait for are left for the loop while it is awake,
// which gives the core all of them at once and sends them together; while it
// sleeps, or has ended, each caller does so himself, for whatever is left.
//
//	caller: leave -> loop awake -> wait for the end
//	            \--> loop asleep -> lock, take all that are left, send -> wait

// leave gives a call to whoever tells the core next.
func (c *Client) leave(w *replyTo) {
	for {
		behind := c.left.Load()
		w.again.behind = behind
		if c.left.CompareAndSwap(behind, w) {
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
	fx := &w.again.fx
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

// take gives the core the calls of w and of all behind it, while mu is held.
func (c *Client) take(w *replyTo, fx *core.Effects) {
	for w != nil {
		u := w.again
		refused, behind := errDone, u.behind
		if !c.closed {
			refused = c.core.Call(c.loop.Time(), u.s.core, &u.ask, fx)
		}
		u.s, u.ask, u.behind = nil, core.Ask{}, nil
		if refused != nil {
			own := *refused
			w.settle(&core.Result{Err: &own})
		}
		w = behind
	}
}
