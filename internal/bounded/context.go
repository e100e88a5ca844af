package bounded

import (
	"context"
	"sync"
	"time"
)

// Context is its parent with a deadline. It is safe for concurrent use.
type Context struct {
	// fixed after New
	parent context.Context //nolint:containedctx // it is one itself
	end    time.Time

	mu     sync.Mutex
	made   context.Context //nolint:containedctx // likewise; nil until somebody asks for Done
	cancel context.CancelFunc
}

// New returns a context that ends with parent, and d from now. The caller calls
// Release when nobody needs it any more.
func New(parent context.Context, d time.Duration) *Context {
	end := time.Now().Add(d)
	if sooner, has := parent.Deadline(); has && sooner.Before(end) {
		end = sooner
	}
	return &Context{parent: parent, end: end}
}

// Release gives back what Done has made, whose users find their context ended.
func (c *Context) Release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
	}
}

// Parent is the context that this one ends with, sooner or later.
func (c *Context) Parent() context.Context { return c.parent }

// Deadline implements context.Context. There always is one.
func (c *Context) Deadline() (time.Time, bool) { return c.end, true }

// Done implements context.Context, by one of the standard library's.
func (c *Context) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.made == nil {
		c.made, c.cancel = context.WithDeadline(c.parent, c.end)
	}
	return c.made.Done()
}

// Err implements context.Context.
func (c *Context) Err() error {
	c.mu.Lock()
	made := c.made
	c.mu.Unlock()
	switch {
	case made != nil:
		return made.Err()
	case c.parent.Err() != nil:
		return c.parent.Err()
	case !time.Now().Before(c.end):
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements context.Context. By it the standard library finds the context
// that Done belongs to.
func (c *Context) Value(key any) any {
	c.mu.Lock()
	made := c.made
	c.mu.Unlock()
	if made != nil {
		return made.Value(key)
	}
	return c.parent.Value(key)
}
