package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/worker/core"
)

// ErrNoCall is Progress with a context that is no call's, or of one that has
// ended.
var ErrNoCall = errors.New("worker: no call of this context runs")

// Progress sends a value of the call that ctx belongs to, to its caller, and
// counts as a sign of life of the call: its budget runs anew. In a broadcast's
// method it is the sign of life alone. It does not wait for anybody: a value
// may be lost where a connection breaks, and a slow reader misses the oldest.
func Progress(ctx context.Context, value any) error {
	call, ok := ctx.Value(callKey{}).(*callContext)
	if !ok || call.node() == nil {
		return ErrNoCall
	}
	if call.errand() != nil {
		return call.beat()
	}
	body, raw, err := codec.Append(nil, value)
	if err != nil {
		return fmt.Errorf("progress: %w", err)
	}
	if most := wire.MaxEnvelope - wire.HeaderSize; len(body) > most {
		return fmt.Errorf("progress: %d bytes, at most %d", len(body), most)
	}
	return call.session.task.progress(call, body, raw)
}

// Beat is a sign of life of the call that ctx belongs to, as Progress is, and
// sends nothing: its budget runs anew. It does not wait, and is cheap.
func Beat(ctx context.Context) error {
	call, ok := ctx.Value(callKey{}).(*callContext)
	if !ok || call.node() == nil {
		return ErrNoCall
	}
	return call.beat()
}

func (c *callContext) beat() error {
	n := c.node()
	n.mu.Lock()
	defer n.mu.Unlock()
	var alive bool
	if e := c.errand(); e != nil {
		alive = n.core.ErrandBeat(n.loop.Time(), e)
	} else {
		alive = n.core.Beat(n.loop.Time(), c.session.task.session, c.number)
	}
	if !alive {
		return ErrNoCall
	}
	return nil
}

func (t *task) progress(call *callContext, body []byte, raw bool) error {
	sent := false
	t.node.lockedFor(t, func(fx *core.Effects) {
		call.steps++
		step := call.steps
		sent = t.node.core.Progress(t.node.loop.Time(), t.session, call.number, step, body, raw, fx)
	})
	if !sent {
		return ErrNoCall
	}
	return nil
}
