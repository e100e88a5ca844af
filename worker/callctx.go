package worker

import (
	"context"
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/internal/chunk"
	"github.com/limpet-rpc/limpet/worker/core"
)

// callContext is the context of one call: it ends with the call's deadline or
// cancellation. It costs one allocation; a channel and a timer are made only
// for handlers that wait on it.
type callContext struct {
	session  *Session     // fixed
	task     *task        // fixed, nil for Open's, and on the side lane
	node     *node        // fixed, nil for Open's
	errand   *core.Errand // fixed, nil but for a broadcast's
	badge    *badge       // fixed
	number   uint64       // fixed, the call's; 0 for a broadcast's
	deadline time.Time    // fixed, zero: none

	sums bool          // both ways with a checksum; owned by the task
	arg  *chunk.Reader // its argument, where that comes as chunks; owned by the task
	out  reply         // what has been written of its reply; nil: nothing; owned by the task

	steps uint64 // of its progress, guarded by the node's mutex

	mu    sync.Mutex
	err   error
	done  chan struct{}
	timer *time.Timer
	after map[int]func()
	next  int // key of after
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
		if c.task == nil && c.errand != nil {
			return nil // on the side lane there is none
		}
		return c.session
	case callKey:
		return c
	}
	return c.badge.ctx.Value(key) // the goroutine's labels, for pprof.Do
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
	if c.done == nil {
		c.done = make(chan struct{})
		if c.err != nil {
			close(c.done)
		} else {
			c.startTimer()
		}
	}
	return c.done
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
	if c.after == nil {
		c.after = map[int]func(){}
	}
	i := c.next
	c.next++
	c.after[i] = f
	c.startTimer()
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waiting := c.after[i]
		delete(c.after, i)
		return waiting
	}
}

func (c *callContext) startTimer() {
	if c.timer == nil && !c.deadline.IsZero() {
		c.timer = time.AfterFunc(time.Until(c.deadline), func() { c.finish(context.DeadlineExceeded) })
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
	if c.done != nil {
		close(c.done)
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	for _, f := range c.after {
		go f()
	}
	c.after = nil
}
