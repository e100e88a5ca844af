package bounded

import (
	"context"
	"sync/atomic"
	"time"
)

// Context is its parent with a deadline. It is safe for concurrent use.
type Context struct {
	// fixed after New
	parent context.Context //nolint:containedctx // it is one itself
	end    time.Time

	made atomic.Pointer[standard] // nil until somebody asks for Done
}

// standard is a context of the standard library.
type standard struct {
	context.Context //nolint:containedctx // likewise
	cancel          context.CancelFunc
}

// New returns a context that ends with parent, and d from now. The caller calls
// Release when nobody needs it any more.
func New(parent context.Context, d time.Duration) *Context {
	now := time.Now()
	end := now.Add(d)
	if sooner, has := parent.Deadline(); has && sooner.Before(end) {
		end = now.Add(sooner.Sub(now)) // by the clock that timers have, whatever the parent's was
	}
	return &Context{parent: parent, end: end}
}

// Release gives back what Done has made, whose users find their context ended.
func (c *Context) Release() {
	if made := c.made.Load(); made != nil {
		made.cancel()
	}
}

// Parent is the context that this one ends with, sooner or later.
func (c *Context) Parent() context.Context { return c.parent }

// Deadline implements context.Context. There always is one.
func (c *Context) Deadline() (time.Time, bool) { return c.end, true }

// Done implements context.Context, by one of the standard library's.
func (c *Context) Done() <-chan struct{} {
	made := c.made.Load()
	if made == nil {
		made = c.make()
	}
	return made.Done()
}

// make makes what Done is asked of, unless somebody else has meanwhile.
func (c *Context) make() *standard {
	ctx, cancel := context.WithDeadline(c.parent, c.end)
	made := &standard{ctx, cancel}
	if c.made.CompareAndSwap(nil, made) {
		return made
	}
	cancel()
	return c.made.Load()
}

// Err implements context.Context. What Done has made may learn a moment later that
// it has ended than who waits for the parent and the deadline by himself.
func (c *Context) Err() error {
	if made := c.made.Load(); made != nil {
		if err := made.Err(); err != nil {
			return err
		}
	}
	if err := c.parent.Err(); err != nil {
		return err
	}
	if !time.Now().Before(c.end) {
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements context.Context. By it the standard library finds the context
// that Done belongs to.
func (c *Context) Value(key any) any {
	if made := c.made.Load(); made != nil {
		return made.Value(key)
	}
	return c.parent.Value(key)
}
