package worker

import (
	"github.com/limpet-rpc/limpet/internal/prefetch"
	"github.com/limpet-rpc/limpet/internal/wire"
)

// Foresee implements zmqio.Foreseer: the memory of sessions that are about to be
// called is brought near, and of their tasks once it is known where those are.
func (n *node) Foresee(next wire.Envelopes, most int) {
	sessions := n.core.Soon(next, most, n.soon[:0])
	for _, s := range sessions {
		if t, ok := s.Task.(*task); ok {
			prefetch.Of(t)
		}
	}
	clear(sessions)
	n.soon = sessions[:0]
}
