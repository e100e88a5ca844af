package client

import (
	"context"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/bounded"
	"github.com/limpet-rpc/limpet/internal/span"
	"github.com/limpet-rpc/limpet/internal/wire"
)

// A caller who waits for his reply and for the end of his context pays for both,
// most of all where many others wait for the same end. So one watch does that for
// all calls under one context, and nobody at first for a context of package bounded,
// which is one request's; the callers wait for their replies and nothing else, unless
// they are told that they are alone: then each looks for himself.
//
//	watched -> context ended, not used for a while, client closed -> alone
//
// A context is watched once watchFrom calls of a session in a row were under it, or as
// many opens, Closes and calls of one waiter (vigil.go): one that is there for a few has
// ended before that has paid.

// watch is the end of one context, for all calls under it.
type watch struct {
	live atomic.Pointer[watched] // nil: it watches no more

	// guarded by the client's mu
	over bool
	used bool // since the last look
	stop func() bool
}

// watched is what is known of a context.
type watched struct {
	watch    *watch
	client   *Client         // who watches it
	ctx      context.Context //nolint:containedctx // it is compared with those of calls
	deadline time.Time
	trace    wire.Trace
}

// Bounds of the watches of one client.
const (
	watchMost = 1024
	watchFrom = 16
	watchRest = time.Second // one that is not used for so long, or a little longer, ends
)

// alone tells a caller to look for the end of his context himself.
var alone core.Flow

// watched is what watches ctx for the session's calls, or nil.
func (s *Session) watched(ctx context.Context) *watched {
	if t := s.watch.Load(); t != nil {
		if is := t.live.Load(); is != nil && is.ctx == ctx {
			return is
		}
	}
	return s.watchAgain(ctx)
}

// watchAgain has ctx watched if it was that of the session's last calls as well. It
// remembers which one that was by its address alone, and keeps nothing.
func (s *Session) watchAgain(ctx context.Context) *watched {
	at, may := watchable(ctx)
	if !may {
		return nil
	}
	if s.under.Load() != at {
		s.under.Store(at)
		s.row.Store(0)
	}
	if s.row.Add(1) < watchFrom {
		return nil
	}
	t := s.client.watchOf(ctx)
	if t == nil {
		return nil
	}
	s.watch.Store(t)
	return t.live.Load()
}

// watchable reports that a context may be watched, and where it is.
func watchable(ctx context.Context) (at uintptr, may bool) {
	if _, own := ctx.(*bounded.Context); own || ctx.Done() == nil {
		return 0, false // see brief
	}
	if v := reflect.ValueOf(ctx); v.Kind() == reflect.Pointer { // others may be impossible to compare
		return v.Pointer(), true
	}
	return 0, false
}

// watchOf is the watch of a context, nil where there is none to be had.
func (c *Client) watchOf(ctx context.Context) *watch {
	c.mu.Lock()
	t, full := c.watches[ctx], c.closed || len(c.watches) >= watchMost
	c.mu.Unlock()
	if t != nil || full {
		return t
	}
	t = &watch{used: true}
	is := &watched{watch: t, client: c, ctx: ctx, trace: span.Of(ctx)}
	is.deadline, _ = ctx.Deadline()
	t.live.Store(is)
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.endWatch(t)
	})
	c.mu.Lock()
	other := c.watches[ctx]
	if other == nil && !t.over && !c.closed {
		t.stop = stop
		c.watches[ctx] = t
		c.mu.Unlock()
		return t
	}
	c.mu.Unlock()
	stop()
	return other
}

// endWatch leaves those who are under a watch alone, and those who are about to be.
// With mu.
func (c *Client) endWatch(t *watch) {
	if t.over {
		return
	}
	t.over = true
	if is := t.live.Swap(nil); c.watches[is.ctx] == t {
		delete(c.watches, is.ctx)
	}
	c.core.Tags(func(tag any) {
		if v, done := vigilOf(tag); v != nil && v.watch == t {
			done <- &alone
		}
	})
}

// restWatches ends the watches that nobody has used since it last looked, or all,
// and returns what is still to be called, without mu. With mu.
func (c *Client) restWatches(now time.Time, all bool) (stops []func() bool) {
	if !all && now.Sub(c.watchLook) < watchRest {
		return nil
	}
	c.watchLook = now
	for _, t := range c.watches {
		if t.used && !all {
			t.used = false
			continue
		}
		stops = append(stops, t.stop)
		c.endWatch(t)
	}
	return stops
}

func stopAll(stops []func() bool) {
	for _, stop := range stops {
		stop()
	}
}

// briefly is how long a call under a deadline of package bounded waits before it
// looks for the end of its context: most have ended by then, and a look is dear.
// Who has less time than that to his deadline does not wait.
const briefly = 2 * tick

// brief reports that a call that begins now is to wait so.
func (c *Client) brief(ctx context.Context) bool {
	b, is := ctx.(*bounded.Context)
	if !is {
		return false
	}
	end, _ := b.Deadline()
	return end.Sub(c.loop.Time()) > 2*briefly // the loop's time may be a tick late
}

// endBriefs leaves those alone whose calls have taken briefly, or up to a tick less;
// all of them where nobody ticks any more. With mu.
func (c *Client) endBriefs() {
	c.round++
	if !c.briefs {
		return
	}
	c.briefs = false
	c.core.Tags(func(tag any) {
		v, done := vigilOf(tag)
		if v == nil || v.round == 0 {
			return
		}
		if c.round-v.round < uint64(briefly/tick) && !c.still {
			c.briefs = true
			return
		}
		v.round = 0
		done <- &alone
	})
}
