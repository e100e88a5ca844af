package core

import (
	"github.com/limpet-rpc/limpet/internal/prefetch"
	"github.com/limpet-rpc/limpet/internal/wire"
)

// Many reports that what a call needs is not near by itself, so that it is worth asking
// for.
func (c *Core) Many() bool { return len(c.sessions) >= prefetch.Worth }

// Soon has the memory of the sessions brought near whose calls are about to be
// stepped, the first most of next, and appends those sessions to them. It only guesses:
// where it is wrong, nothing was won.
func (c *Core) Soon(next wire.Envelopes, most int, them []*Session) []*Session {
	places := c.soon[:0]
	for range most {
		env, ok := next.Next()
		if !ok {
			break
		}
		if id, ok := wire.SessionOf(env); ok && wire.KindOf(env) == wire.KindCall {
			at := c.nearby.Place(&id)
			prefetch.Of(at)
			places = append(places, at)
		}
	}
	for _, at := range places {
		if s := *at; s != nil {
			prefetch.Upto(s, &s.open)
			them = append(them, s)
		}
	}
	c.soon = places[:0]
	return them
}
