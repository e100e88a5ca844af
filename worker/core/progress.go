package core

import (
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// Progress sends one value of the call that runs to its caller: the step-th of
// that call, from 1. It is a sign of life of the call. It is false where the
// call is not the one that runs.
func (c *Core) Progress(now time.Time, s *Session, n, step uint64, body []byte, raw bool, fx *Effects) bool {
	if s.callee.Running() != n {
		return false
	}
	c.dog.Beat(now, &s.ward)
	s.acquit()
	h := wire.Header{Kind: wire.KindProgress, Node: c.cfg.Node, Session: s.id, Key: s.sign(), Epoch: s.epochOf(n), Number: n, Ack: step}
	if raw {
		h.Flags |= wire.FlagRaw
	}
	var to wire.Peer
	to, h.Via = s.wayBack(n)
	fx.Session(to, &h, body)
	return true
}

// Beat is a sign of life of the call that runs, without a value. It is false
// where the call is not the one that runs.
func (c *Core) Beat(now time.Time, s *Session, n uint64) bool {
	if s.callee.Running() != n {
		return false
	}
	c.dog.Beat(now, &s.ward)
	s.acquit()
	return true
}
