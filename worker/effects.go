package worker

import (
	"context"

	"github.com/limpet-rpc/limpet/internal/chunk"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/worker/core"
)

// sender is one of the loop's ways to send.
type sender func(to wire.Peer, env []byte) error

// senderOf is how the goroutine of a task, or another one, sends what a step asked for:
// who is locked to a thread must not yield, and a lane that has its next turn leaves it to
// the loop, for that may take any time.
func (n *node) senderOf(t *task, fx *core.Effects) sender {
	switch {
	case t == nil || !t.lock:
		return n.loop.Send
	case t.laned && len(fx.Run) > 0:
		return n.loop.SendSoon
	default:
		return n.loop.SendPinned
	}
}

// apply carries out what the core asked for, once take has. Nothing here waits: a session's
// channels have room for all that the core ever hands out at once.
func (n *node) apply(fx *core.Effects, send sender) {
	for _, s := range fx.Open {
		n.laneOf(s).orders <- turn{task: s.Task.(*task), open: true}
	}
	for _, o := range fx.Outs {
		n.send(o, send)
	}
	for _, r := range fx.Run {
		r.Session.Task.(*task).give()
	}
	n.peal(fx.Run)
	for i := range fx.Chunks { // which may take a while
		n.sendChunk(&fx.Chunks[i])
	}
	for _, e := range fx.Errands {
		go e.Task.(*aside).run()
	}
	for _, s := range fx.Start {
		s.Task.(*task).begin()
	}
	for _, tag := range fx.Wake { // their contexts have ended, where they were cancelled
		tag.(chunk.Bell).Ring()
	}
	for _, s := range fx.Stop {
		s.Session.Task.(*task).halt(s.Why, s.Over)
	}
	for _, h := range fx.Hung {
		n.coroner.call(h)
	}
	for _, r := range fx.Resized {
		if k := n.stocks[r.Pool]; k != nil {
			k.resize(r.Slots)
		}
	}
	for _, q := range fx.Quarantine {
		n.poisoned(q.Session.Pool(), q.Session.Worker(), q.Why)
	}
	if fx.Drain != nil {
		select {
		case n.drained <- fx.Drain.Deadline:
		default: // it drains already
		}
	}
	for i := range fx.Events {
		n.noise.event(n.log, &fx.Events[i])
	}
}

// peal wakes the threads that have been given calls, as many at once as share a tower.
func (n *node) peal(given []core.Run) {
	if n.towers == nil {
		return
	}
	for _, r := range given {
		r.Session.Task.(*task).peal()
	}
}

// send gives one envelope to the loop. What cannot be sent is lost, as it
// could be on the way: whoever misses it asks again.
func (n *node) send(o wire.Out, send sender) {
	if err := send(o.To, o.Env); err != nil {
		n.log.Debug("not sent", "to", o.To, "kind", wire.KindOf(o.Env), "error", err)
	}
}

// sendChunk gives a chunk to the loop. One that is lost is asked for again.
func (n *node) sendChunk(c *wire.Chunk) {
	if err := chunk.Send(c, n.loop); err != nil {
		n.log.Debug("not sent", "to", c.To, "kind", c.Head.Kind, "error", err)
	}
}

// take does of what the core asked for what a later step must find done, while mu is
// held: it makes tasks and contexts, and ends those that are cancelled.
func (n *node) take(fx *core.Effects) {
	for _, s := range fx.Start {
		s.Task = newTask(n, s, n.pools[s.Pool()])
		n.tasks.Add(1)
	}
	n.takeErrands(fx)
	for i := range fx.Run {
		r := &fx.Run[i]
		r.Session.Task.(*task).takes(r.Call, r.Errand)
	}
	for _, c := range fx.Cancel {
		switch {
		case c.Session != nil:
			c.Session.Task.(*task).cancel(c)
		default:
			c.Errand.Task.(*aside).ctx.finish(context.Canceled)
		}
	}
}
