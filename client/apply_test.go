package client

import (
	"testing"

	"github.com/limpet-rpc/limpet/client/core"
)

// seenAtEnd notes at the end of a call how much of its progress had come.
type seenAtEnd struct {
	p    *Pending
	seen int
}

func (w *seenAtEnd) settle(*core.Result) { w.seen = len(w.p.steps) }

// Progress that comes in one frame with its call's end is there before the end
// is: a reader that wakes in between must not take it for all there was.
func TestProgressComesBeforeTheEnd(t *testing.T) {
	p := &Pending{reply: newReply(), news: make(chan struct{}, 1)}
	end := &seenAtEnd{p: p, seen: -1}
	new(Client).apply(&core.Effects{
		Results: []core.Result{{Tag: end}},
		Steps:   []core.Step{{Tag: p, Body: []byte{1}}, {Tag: p, Body: []byte{2}}},
	})
	if end.seen != 2 {
		t.Errorf("at the end %d values of progress had come, not 2", end.seen)
	}
}
