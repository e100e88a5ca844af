package worker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// Bounds of what looking for hung calls may cost a node.
const (
	dumpEvery  = time.Second // a profile of all goroutines, not sooner after the last one's end
	nativeMost = 4           // native stacks per profile; each may stop the process for a moment
)

// coroner finds out where hung calls hang. It works outside of the node's lock
// and loop, on a goroutine of its own that Serve waits for, and at most one
// profile a second: calls that hang meanwhile share the next.
type coroner struct {
	node     *node
	debugger string // see Options.Debugger

	mu    sync.Mutex
	cases []core.Hung   // at most one a slot
	news  chan struct{} // holds one
}

func newCoroner(n *node, debugger string) *coroner {
	return &coroner{node: n, debugger: debugger, news: make(chan struct{}, 1)}
}

// call takes a case. It does not wait.
func (k *coroner) call(h core.Hung) {
	k.mu.Lock()
	k.cases = append(k.cases, h)
	k.mu.Unlock()
	select {
	case k.news <- struct{}{}:
	default: // it has been called and has not come yet
	}
}

func (k *coroner) take() []core.Hung {
	k.mu.Lock()
	defer k.mu.Unlock()
	cases := k.cases
	k.cases = nil
	return cases
}

// run works until ctx ends.
func (k *coroner) run(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-k.news:
		case <-ctx.Done():
			return
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		k.examine(k.take())
		pause.Reset(dumpEvery)
	}
}

// examine tells first what the profile shows of every case, then the native
// stacks, one by one.
func (k *coroner) examine(cases []core.Hung) {
	if len(cases) == 0 {
		return
	}
	d := newDump()
	type inside struct {
		core.Hung
		core.Finding
	}
	var native []inside
	for _, h := range cases {
		f, inC := k.look(d, h)
		if f.Whole = !inC; inC {
			native = append(native, inside{h, f})
		}
		k.tell(h, f)
	}
	for i, c := range native {
		if i < nativeMost {
			c.Native = nativeStack(c.Thread, k.debugger)
		} else {
			c.Native = fmt.Sprintf("not looked at: at most %d at once", nativeMost)
		}
		c.Whole = true
		k.tell(c.Hung, c.Finding)
	}
}

// look finds one case in a profile; inC reports that its native stack is worth
// a look.
func (k *coroner) look(d dump, h core.Hung) (f core.Finding, inC bool) {
	if h.Session == nil {
		return k.lookAside(d, h), false
	}
	t := h.Session.Task.(*task)
	if t.lock {
		f.Thread = int(t.thread.Load())
	}
	stack, inC, ok := d.of(t.badge)
	switch {
	case !ok:
		f.Stack = "its goroutine was not found in the handler: it may just have returned"
		return f, false
	case inC && !t.lock:
		f.Native = "not known: the session is not locked to an OS thread (worker.Config.LockThread)"
		inC = false
	}
	f.Stack = stack
	return f, inC
}

// lookAside finds one on the side lane, which no thread is locked for.
func (k *coroner) lookAside(d dump, h core.Hung) (f core.Finding) {
	stack, inC, ok := d.of(h.Errand.Task.(*aside).badge)
	if f.Stack = stack; !ok {
		f.Stack = "its goroutine was not found in the handler: it may just have returned"
	}
	if inC {
		f.Native = "not known: the side lane is not locked to OS threads"
	}
	return f
}

// tell goes by the loop, where the order is made in which brokers hear of
// slots.
func (k *coroner) tell(h core.Hung, f core.Finding) {
	k.node.onLoop(func(fx *core.Effects) {
		if h.Session == nil {
			k.node.core.ExaminedErrand(h.Errand, f, fx)
			return
		}
		k.node.core.Examined(time.Now(), h.Session, h.Number, f, fx)
	})
}

// poisoned takes note that a slot is lost until its handler returns; it is told
// once for every call that is found to hang. Where there is a supervisor it
// hears by the next beat how many there are.
func (n *node) poisoned(pool string, worker int, why *session.Error) {
	n.log.Error("a call hangs: its slot is quarantined", "pool", pool, "worker", worker, "call", why.Call, "text", why.Text, "stack", why.Stack)
}
