package core

import (
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// progress takes one value of a call that runs. A copy, or one that a later
// one has overtaken, says nothing new.
func (c *Core) progress(now time.Time, s *Session, h *wire.Header, body []byte, fx *Effects) {
	f := s.calls.At(h.Number)
	if f == nil || h.Ack <= f.step {
		return
	}
	f.step = h.Ack
	s.calls.Postpone(h.Number, now.Add(session.RetryMost))
	if f.tag != nil {
		fx.Steps = append(fx.Steps, Step{Tag: f.tag, Body: body, Raw: h.Flags&wire.FlagRaw != 0})
	}
}
