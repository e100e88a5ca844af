package client

import (
	"context"

	"github.com/limpet-rpc/limpet/client/core"
)

// vigil is who tells a waiter that is used again to look for the end of his
// context himself, see watch.go. A waiter has a context watched once he has waited
// under it watchFrom times in a row, for whomever: so it is for opens, and for
// sessions that are too short to have it done.
type vigil struct {
	watch *watch // that tells him, or nil
	round uint64 // when the core got what he waits for, where brief, 0 once that was told; the client's, guarded by mu

	// owned by the waiter, from one use to the next
	latest *watch  // that he was under, some client's
	last   uintptr // where his last context was, of which he keeps nothing else
	row    uint32  // how often in a row

	brief bool // the tick tells him
}

// begin has somebody tell him who is to wait under ctx, if that can be had.
func (v *vigil) begin(ctx context.Context, c *Client) {
	if is := v.watched(ctx, c); is != nil {
		v.watch = is.watch
	} else {
		v.brief = c.brief(ctx)
	}
}

// watched is what watches ctx, or nil.
func (v *vigil) watched(ctx context.Context, c *Client) *watched {
	if v.latest != nil {
		if is := v.latest.live.Load(); is != nil && is.client == c && is.ctx == ctx {
			return is
		}
	}
	at, may := watchable(ctx)
	if !may {
		return nil
	}
	if v.last != at {
		v.last, v.row = at, 0
	}
	if v.row++; v.row < watchFrom {
		return nil
	}
	if v.latest = c.watchOf(ctx); v.latest == nil {
		return nil
	}
	return v.latest.live.Load()
}

// under notes that the core gets what he waits for. With the client's mu.
func (v *vigil) under(c *Client, done chan<- *core.Flow) {
	switch t := v.watch; {
	case v.brief && c.still:
		done <- &alone
	case v.brief:
		v.round, c.briefs = c.round, true
	case t == nil:
	case t.over: // before the call was here to be told
		done <- &alone
	case !t.used: // not written for each call: all callers read beside it
		t.used = true
	}
}

// told reports that somebody tells him.
func (v *vigil) told() bool { return v.watch != nil || v.brief }

// ended waits for the end, of which done brings nil, and reports false where that of
// ctx came first.
func (v *vigil) ended(ctx context.Context, done <-chan *core.Flow) bool {
	if v.told() && <-done == nil {
		return true
	}
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// rest ends a vigil. What the waiter was under last is still known.
func (v *vigil) rest() { v.watch, v.brief, v.round = nil, false, 0 }

// vigilOf is that of whoever waits for what the core has under tag, and where he
// waits; nil where he looks for the end of his context himself.
func vigilOf(tag any) (v *vigil, done chan<- *core.Flow) {
	switch w := tag.(type) {
	case *replyTo:
		if w.again != nil {
			return &w.again.vigil, w.done
		}
	case *opening:
		return &w.vigil, w.done
	case *closing:
		return &w.vigil, w.done
	}
	return nil, nil
}
