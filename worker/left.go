package worker

import (
	"runtime"

	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// ended is the end of a call, or of a broadcast's errand, that the core is to be
// told of.
type ended struct {
	number uint64
	reply  session.Reply
	next   *task
}

// done reports the end of a call, or of a broadcast's errand, whose reply handle has
// left. While the loop is awake it is left for the loop, which tells the core of all that
// have ended at once; a thread that waits at a bell wakes the loop for that, where there are
// others like it. Otherwise, or where the session has had its next call before this one's
// end, the calling goroutine does so, and goes straight on with what comes next. A lane
// always does: another session has waited for its thread.
func (n *node) done(t *task, number uint64) {
	t.ended.number = number
	first := t
	if !t.follows && !t.laned {
		n.leave(t)
		if n.loop.Awake() || t.bell != nil && n.towers.crowded() && n.loop.Rouse() {
			return
		}
		if first = n.left.Swap(nil); first == nil {
			return // somebody else tells of it
		}
	}
	if t.brief {
		spread()
	}
	n.lockedFor(t, func(fx *core.Effects) { n.tellEnded(first, fx) })
}

// spread has the stack grow once, and not three times under the step to come: of a
// session of one call it is as short as it began, and most need no more.
//
//go:noinline
func spread() {
	var room [4 << 10]byte
	runtime.KeepAlive(&room)
}

// leave adds a task to those whose calls have ended.
func (n *node) leave(t *task) {
	for {
		t.ended.next = n.left.Load()
		if n.left.CompareAndSwap(t.ended.next, t) {
			return
		}
	}
}

// Left implements zmqio.Gatherer.
func (n *node) Left() bool { return n.left.Load() != nil }

// Gather implements zmqio.Gatherer.
func (n *node) Gather() {
	if t := n.left.Swap(nil); t != nil {
		n.step(func(fx *core.Effects) { n.tellEnded(t, fx) })
	}
}

// tellEnded tells the core of the calls of t and of all behind it, while mu is
// held. As soon as it is not, the session's goroutine may have the next.
func (n *node) tellEnded(t *task, fx *core.Effects) {
	now := n.loop.Time()
	for t != nil {
		e, runs := &t.ended, len(fx.Run)
		next := e.next
		if t.errand == nil {
			n.core.Done(now, t.session, e.number, &e.reply, fx)
		} else {
			n.core.ErrandDone(now, t.errand, e.reply, fx)
		}
		t.errand, t.current, *e = nil, nil, ended{} // an idle session keeps nothing of its last call
		t.follows = len(fx.Run) > runs
		t = next
	}
}
