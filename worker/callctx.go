package worker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/limpet-rpc/limpet/internal/chunk"
	"github.com/limpet-rpc/limpet/worker/core"
)

// callContext is the context of one call: it ends with the call, its deadline or
// its cancellation. It is small, and several are one allocation; whatever only some
// calls need is made when they do. None is used twice: a handler may have kept it.
type callContext struct {
	// fixed
	session  *Session      // nil on the side lane
	number   uint64        // the call's; 0 for a broadcast's, and for Open's
	deadline time.Duration // since the node began; 0: none

	own   *particulars          // fixed when the handler begins; nil: none
	flows *flows                // owned by the task; nil: argument and reply are whole
	end   atomic.Pointer[watch] // nil: nobody waits for the end, which has not come
	steps uint64                // of its progress, guarded by the node's mutex
}

// contextsAtOnce is how many contexts are one allocation. A handler that keeps one
// keeps them all.
const contextsAtOnce = 8

// newContext returns the context of a call. The caller holds mu.
func (n *node) newContext() *callContext {
	if len(n.contexts) == 0 {
		n.contexts = make([]callContext, contextsAtOnce)
	}
	c := &n.contexts[0]
	n.contexts = n.contexts[1:]
	return c
}

// particulars are what only some calls have.
type particulars struct {
	aside  *aside          // nil everywhere but on the side lane
	errand *core.Errand    // nil but for a broadcast's
	above  context.Context //nolint:containedctx // has its span, or its caller's; nil: there is none
}

// flows are a call's argument and reply where they come in parts.
type flows struct {
	sums bool          // both ways with a checksum
	arg  *chunk.Reader // nil: it came whole
	out  reply         // what has been written; nil: nothing
}

// watch is the end of a call, for which somebody may wait.
type watch struct {
	mu    sync.Mutex
	err   error // nil: the end has not come
	done  chan struct{}
	timer *time.Timer
	after map[int]func()
	next  int // key of after
}

// The ends that nobody waits for: they are fixed, and all calls share them.
var (
	endCancelled = newEnd(context.Canceled)
	endExpired   = newEnd(context.DeadlineExceeded)
)

func newEnd(err error) *watch {
	w := &watch{err: err, done: make(chan struct{})}
	close(w.done)
	return w
}

func endBy(err error) *watch {
	if err == context.DeadlineExceeded { //nolint:errorlint // it is one of two
		return endExpired
	}
	return endCancelled
}

// particular makes room for what only some calls have.
func (c *callContext) particular() *particulars {
	if c.own == nil {
		c.own = new(particulars)
	}
	return c.own
}

func (c *callContext) errand() *core.Errand {
	if c.own == nil {
		return nil
	}
	return c.own.errand
}

func (c *callContext) aside() *aside {
	if c.own == nil {
		return nil
	}
	return c.own.aside
}

// above is what has its span, or its caller's; nil: there is none.
func (c *callContext) above() context.Context {
	if c.own == nil {
		return nil
	}
	return c.own.above
}

// node is where the call runs, nil for Open's context.
func (c *callContext) node() *node {
	switch a := c.aside(); {
	case a != nil:
		return a.node
	case c.number == 0 && c.errand() == nil:
		return nil
	}
	return c.session.task.node
}

// labels are those of the goroutine.
func (c *callContext) labels() context.Context {
	if a := c.aside(); a != nil {
		return a.badge.ctx
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

// due notes when the call has to have ended; zero: whenever.
func (c *callContext) due(at time.Time, n *node) {
	if !at.IsZero() {
		c.deadline = at.Sub(n.began)
	}
}

// Deadline implements context.Context.
func (c *callContext) Deadline() (time.Time, bool) {
	if c.deadline == 0 {
		return time.Time{}, false
	}
	return c.node().began.Add(c.deadline), true
}

// Value implements context.Context.
func (c *callContext) Value(key any) any {
	switch key.(type) {
	case sessionKey:
		if c.session == nil {
			return nil // on the side lane there is none
		}
		return c.session
	case callKey:
		return c
	}
	if above := c.above(); above != nil {
		return above.Value(key)
	}
	return c.labels().Value(key) // for pprof.Do
}

// Err implements context.Context.
func (c *callContext) Err() error {
	w := c.end.Load()
	if w == nil && c.deadline != 0 && time.Since(c.node().began) >= c.deadline {
		c.finish(context.DeadlineExceeded)
		w = c.end.Load()
	}
	if w == nil {
		return nil
	}
	return w.why()
}

// Done implements context.Context.
func (c *callContext) Done() <-chan struct{} { return c.watched().channel(c) }

// AfterFunc lets contexts that derive from this one be told without a
// goroutine that watches it.
func (c *callContext) AfterFunc(f func()) (stop func() bool) { return c.watched().then(c, f) }

func (c *callContext) watched() *watch {
	if w := c.end.Load(); w != nil {
		return w
	}
	c.end.CompareAndSwap(nil, new(watch))
	return c.end.Load()
}

// finish ends the context; the first reason counts.
func (c *callContext) finish(err error) {
	if end := endBy(err); !c.end.CompareAndSwap(nil, end) {
		c.end.Load().finish(err)
	}
}

// fixed reports an end that nobody waits for.
func (w *watch) fixed() bool { return w == endCancelled || w == endExpired }

// why is nil before the end.
func (w *watch) why() error {
	if w.fixed() {
		return w.err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// channel is closed by the end of c.
func (w *watch) channel(c *callContext) <-chan struct{} {
	if w.fixed() {
		return w.done
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done == nil {
		w.done = make(chan struct{})
		if w.err != nil {
			close(w.done)
		} else {
			w.startTimer(c)
		}
	}
	return w.done
}

// then has f run at the end of c.
func (w *watch) then(c *callContext, f func()) (stop func() bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		go f()
		return func() bool { return false }
	}
	if w.after == nil {
		w.after = map[int]func(){}
	}
	i := w.next
	w.next++
	w.after[i] = f
	w.startTimer(c)
	return func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		_, waiting := w.after[i]
		delete(w.after, i)
		return waiting
	}
}

func (w *watch) startTimer(c *callContext) {
	if w.timer == nil && c.deadline != 0 {
		left := c.deadline - time.Since(c.node().began)
		w.timer = time.AfterFunc(left, func() { c.finish(context.DeadlineExceeded) })
	}
}

func (w *watch) finish(err error) {
	if w.fixed() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return
	}
	w.err = err
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
