package worker

import (
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/worker/core"
)

// reports are what brokers are to be told of slots. It is numbered, and must
// leave in the order in which it happened: a session's goroutine that finds such
// a thing leaves it here, for the loop to send.
type reports struct {
	held, told *wire.Batch // told is the loop's, between take and the next take
}

// report keeps what of a step's effects is for the loop to send. The caller,
// who is not the loop, holds mu.
func (n *node) report(fx *core.Effects) {
	mine := fx.Outs[:0]
	for _, o := range fx.Outs {
		if wire.KindOf(o.Env).ToHolder() {
			mine = append(mine, o)
		} else {
			n.reports.add(o, n)
		}
	}
	clear(fx.Outs[len(mine):])
	fx.Outs = mine
}

func (r *reports) add(o wire.Out, n *node) {
	if r.held == nil {
		r.held, r.told = new(wire.Batch), new(wire.Batch)
	}
	if len(r.held.Outs) == 0 {
		n.loop.Do(n.sendReports)
	}
	r.held.Copy(o.To, o.Env)
}

// take hands over what is held. The caller is the loop, and holds mu.
func (r *reports) take() *wire.Batch {
	if r.held == nil || len(r.held.Outs) == 0 {
		return nil
	}
	r.held, r.told = r.told, r.held
	return r.told
}

// tell sends what take returned.
func (n *node) tell(told *wire.Batch) {
	if told == nil {
		return
	}
	for _, o := range told.Outs {
		n.send(o, n.loop.Send)
	}
	told.Reset()
}

func (n *node) sendReports() { n.step(func(*core.Effects) {}) }
