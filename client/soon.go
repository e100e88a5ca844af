package client

import (
	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/prefetch"
	"github.com/limpet-rpc/limpet/internal/wire"
)

// Foresee implements zmqio.Foreseer: the memory of sessions whose calls are about to
// end is brought near, and of who waits for them once it is known where that is.
func (c *Client) Foresee(next wire.Envelopes, most int) {
	if !c.core.Many() {
		return
	}
	sessions := c.core.Soon(next, most, c.soon[:0])
	for _, s := range sessions {
		if w, ok := s.First().(*replyTo); ok {
			prefetch.Upto(w, &w.feed)
		}
	}
	clear(sessions)
	c.soon = sessions[:0]
}

// awake has the memory brought near that is touched when those go on whose calls have
// ended.
func awake(results []core.Result) {
	for i := range results {
		if w, ok := results[i].Tag.(*replyTo); ok {
			prefetch.Chan(w.done)
			w.where.Soon()
		}
	}
}
