package client

import (
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
			prefetch.Of(w)
		}
	}
	clear(sessions)
	c.soon = sessions[:0]
}
