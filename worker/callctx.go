package worker

import (
	"context"
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/internal/chunk"
	"github.com/limpet-rpc/limpet/worker/core"
)

// callContext is the context of one call: it ends with the call's deadline or
// cancellation. It costs one small allocation, the only one of a call beside its
// reply's; whatever only some calls need is made when they do.
type callContext struct {
	// fixed
	session   *Session        // nil on the side lane
	aside     *aside          // nil everywhere else
	errand    *core.Errand    // nil but for a broadcast's
	number    uint64          // the call's; 0 for a broadcast's, and for Open's
	deadline  time.Time       // zero: none
	stillborn bool            // it was cancelled before it began
	above     context.Context //nolint:containedctx // has its span, or its caller's; nil: there is none

	flows *flows // owned by the task; nil: argument and reply are whole
	steps uint64 // of its progress, guarded by the node's mutex

	mu    sync.Mutex
	err   error
	watch *watch // nil: nobody waits for its end
}

// flows are a call's argument and reply where they come in parts.
type flows struct {
	sums bool          // both ways with a checksum
	arg  *chunk.Reader // nil: it came whole
	out  reply         // what has been written; nil: nothing
}

// watch is who waits for a call's end.
type watch struct {
	done  chan struct{}
	timer *time.Timer
	after map[int]func()
	next  int // key of after
}

// node is where the call runs, nil for Open's context.
func (c *callContext) node() *node {
	switch {
	case c.aside != nil:
		return c.aside.node
	case c.number == 0 && c.errand == nil:
		return nil
	}
	return c.session.task.node
}

// labels are those of the goroutine.
func (c *callContext) labels() context.Context {
	if c.aside != nil {
		return c.aside.badge.ctx
	}
	return c.session.task.badge.ctx
}

// parts makes room for an argument or a reply that is not whole.
func (c *callContext) parts() *flows {
	if c.flows == nil {
		c.flows = new(flows)
	}
	return c.flows
}

// callKey is under which a call's context finds itself in those that derive
// from it.
type callKey struct{}

// Deadline implements context.Context.
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	switch key.(type) {
	case sessionKey:
		if c.aside != nil {
			return nil // on the side lane there is none
		}
		return c.session
	case callKey:
		return c
	}
	if c.above != nil {
		return c.above.Value(key)
	}
	return c.labels().Value(key) // for pprof.Do
}

// Err implements context.Context.
func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil && !c.deadline.IsZero() && !time.Now().Before(c.deadline) {
		c.finishLocked(context.DeadlineExceeded)
	}
	return c.err
}

// Done implements context.Context.
func (c *callContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.watched()
	if w.done == nil {
		w.done = make(chan struct{})
		if c.err != nil {
			close(w.done)
		} else {
			c.startTimer()
		}
	}
	return w.done
}

// AfterFunc lets contexts that derive from this one be told without a
// goroutine that watches it.
func (c *callContext) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		go f()
		return func() bool { return false }
	}
	w := c.watched()
	if w.after == nil {
		w.after = map[int]func(){}
	}
	i := w.next
	w.next++
	w.after[i] = f
	c.startTimer()
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waiting := w.after[i]
		delete(w.after, i)
		return waiting
	}
}

func (c *callContext) watched() *watch {
	if c.watch == nil {
		c.watch = new(watch)
	}
	return c.watch
}

func (c *callContext) startTimer() {
	if c.watch.timer == nil && !c.deadline.IsZero() {
		c.watch.timer = time.AfterFunc(time.Until(c.deadline), func() { c.finish(context.DeadlineExceeded) })
	}
}

// finish ends the context; the first reason counts.
func (c *callContext) finish(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finishLocked(err)
}

func (c *callContext) finishLocked(err error) {
	if c.err != nil {
		return
	}
	c.err = err
	w := c.watch
	if w == nil {
		return
	}
	if w.done != nil {
		close(w.done)
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	for _, f := range w.after {
		go f()
	}
	w.after = nil
}
