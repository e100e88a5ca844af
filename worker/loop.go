package worker

import (
	"time"

	"github.com/limpet-rpc/limpet/internal/chunk"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmqio"
	"github.com/limpet-rpc/limpet/worker/core"
)

// Begin implements zmqio.Batcher: one lock for all messages that came at once.
func (n *node) Begin() {
	n.fx.Reset()
	n.now = n.loop.Time()
	n.mu.Lock()
	n.batch = true
}

// End implements zmqio.Batcher.
func (n *node) End() {
	n.batch = false
	many := n.core.Many()
	n.take(&n.fx)
	told := n.reports.take()
	n.mu.Unlock()
	if many {
		n.wake(&n.fx)
	}
	n.tell(told)
	n.towers.handed(len(n.fx.Run))
	n.apply(&n.fx, n.loop.Send)
}

// step runs one step of the core on the loop.
func (n *node) step(f func(fx *core.Effects)) {
	if n.batch {
		f(&n.fx)
		return
	}
	n.Begin()
	f(&n.fx)
	n.End()
}

// Envelope implements zmqio.Handler.
func (n *node) Envelope(from wire.Peer, env []byte) {
	if wire.KindOf(env) != wire.KindCall { // of which the core keeps nothing
		env = n.kept.Keep(env)
	}
	if n.batch { // as all that come from the loop
		n.core.Step(n.now, from, env, &n.fx)
		return
	}
	n.step(func(fx *core.Effects) { n.core.Step(n.loop.Time(), from, env, fx) })
}

// Block implements zmqio.Blocks. A chunk is kept where it came.
func (n *node) Block(from wire.Peer, env []byte, b *zmqio.Block) {
	defer b.Release()
	if wire.KindOf(env) != wire.KindArgChunk {
		n.Envelope(from, env)
		return
	}
	n.step(func(fx *core.Effects) { n.core.StepIn(n.loop.Time(), from, env, chunk.Received{Block: b}, fx) })
}

// Malformed implements zmqio.Handler.
func (n *node) Malformed(from wire.Peer, err error) {
	n.step(func(fx *core.Effects) { n.core.Malformed(from, err, fx) })
}

// Renewed implements zmqio.Renewer.
func (n *node) Renewed(peer wire.Peer) {
	n.step(func(fx *core.Effects) { n.core.Renewed(n.loop.Time(), peer, fx) })
}

// Gone implements zmqio.Handler. A holder that is gone may come back by
// another connection; its lease decides.
func (n *node) Gone(wire.Peer) {}

// Tick implements zmqio.Handler.
func (n *node) Tick(now time.Time) {
	n.say(now)
	n.step(func(fx *core.Effects) { n.core.Tick(now, fx) })
	n.beatUp(now)
}

// onLoop has the loop run a step, and does not wait for it.
func (n *node) onLoop(step func(fx *core.Effects)) {
	n.loop.Do(func() { n.step(step) })
}

// openDone reports the end of a pool's Open. It does so on the loop, as closed
// does: what brokers are told of slots leaves in the order in which it
// happened.
func (n *node) openDone(t *task, err error) {
	n.onLoop(func(fx *core.Effects) {
		t.current = nil
		n.core.OpenDone(time.Now(), t.session, err, fx)
	})
}

// closed reports the end of a pool's Close.
func (n *node) closed(t *task) {
	n.onLoop(func(fx *core.Effects) { n.core.Closed(time.Now(), t.session, fx) })
}

// locked runs one step of the core from outside the loop and carries out what
// it asks for.
func (n *node) locked(step func(fx *core.Effects)) { n.lockedFor(nil, step) }

// lockedFor does so for the goroutine of a task; nil: another one.
func (n *node) lockedFor(t *task, step func(fx *core.Effects)) {
	fx := n.spare.Get().(*core.Effects)
	fx.Reset()
	n.mu.Lock()
	step(fx)
	n.take(fx)
	n.report(fx)
	n.mu.Unlock()
	n.apply(fx, n.senderOf(t, fx))
	n.spare.Put(fx)
}
