package worker

import (
	"github.com/limpet-rpc/limpet/internal/prefetch"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/worker/core"
)

// Foresee implements zmqio.Foreseer: the memory of sessions that are about to be
// called is brought near, and of their tasks once it is known where those are.
func (n *node) Foresee(next wire.Envelopes, most int) {
	if !n.core.Many() {
		return
	}
	sessions := n.core.Soon(next, most, n.soon[:0])
	for _, s := range sessions {
		if t, ok := s.Task.(*task); ok {
			prefetch.Upto(t, &t.pool)
		}
	}
	clear(sessions)
	n.soon = sessions[:0]
}

// wake has what goroutines will touch brought near that are about to get a call.
func (n *node) wake(fx *core.Effects) {
	for i := range fx.Run {
		if t := fx.Run[i].Session.Task.(*task); !t.laned {
			if prefetch.Chan(t.news); t.bell != nil {
				prefetch.Of(t.bell)
			}
			prefetch.Behind(&t.tenant)
			t.note.Soon()
			t.where.Soon()
		}
	}
}
