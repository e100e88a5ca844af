package client

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// DefaultHops is how many steps a call goes on by itself on one path, where
// WithHops does not say otherwise.
const DefaultHops = 64

// pathsMost bounds the steps of one call on all its paths together, unless its
// hop limit is higher.
const pathsMost = 4096

// WithHops says how many steps a call may go on that its handlers name
// (worker.Next, worker.Fan), on one path; past it the call ends with ErrHops and
// names the path. Below 1 is none at all.
func WithHops(n int) CallOption { return CallOption{hops: max(n, 0) + 1} }

// onward is how a call goes on where its handler says so. It is a call's own and
// does not change once the call is made.
type onward struct {
	client       *Client
	pool, method string                      // where the call began
	cfg          *openConfig                 // of its open, nil: it was made in a session
	hops         int                         // 0: DefaultHops; else the limit and one
	told         func(body []byte, raw bool) // progress of the steps, or nil
}

// walk is one call on its way.
type walk struct {
	onward
	ctx   context.Context
	most  int // steps on one path
	steps atomic.Int64
}

// follow goes on from the answer of a call until there is a result.
func (o *onward) follow(ctx context.Context, a answer) (answer, error) {
	w := &walk{onward: *o, ctx: ctx, most: DefaultHops}
	if o.hops > 0 {
		w.most = o.hops - 1
	}
	var t trail
	return w.follow(ctx, a, t.then(o.pool, o.method))
}

func (w *walk) follow(ctx context.Context, a answer, t trail) (answer, error) {
	for a.next {
		n, err := wire.ParseNext(a.body)
		if err != nil {
			return answer{}, &session.Error{Code: session.ErrBadMessage, Text: fmt.Sprintf("%s names no next step: %s", t.last(), err)}
		}
		switch {
		case n.Single():
			a, t, err = w.step(ctx, &n.Steps[0], t)
		default:
			a, err = w.fan(ctx, n.Steps, t)
			if err == nil && !n.Join.Zero() {
				a, t, err = w.step(ctx, &wire.NextStep{Pool: n.Join.Pool, Method: n.Join.Method, Args: a.body, Raw: a.raw}, t)
			}
		}
		if err != nil {
			return answer{}, err
		}
	}
	return a, nil
}

// step makes one step.
func (w *walk) step(ctx context.Context, s *wire.NextStep, t trail) (answer, trail, error) {
	t = t.then(s.Pool, s.Method)
	steps := w.steps.Add(1)
	if t.hop() > w.most || steps > int64(max(pathsMost, w.most)) {
		text := fmt.Sprintf("%d steps on one path, at most %d: %s", t.hop(), w.most, t)
		if t.hop() <= w.most {
			text = fmt.Sprintf("%d steps on all paths, at most %d; this one: %s", steps, max(pathsMost, w.most), t)
		}
		return answer{}, t, t.failed(s, notRun(session.ErrHops, text))
	}
	var cfg openConfig
	if w.cfg != nil {
		cfg = *w.cfg
	}
	cfg.wish.Pool, cfg.wish.Labels = s.Pool, nil
	cfg.wish.Priority -= t.hop() // those that have just begun go first; waiting raises everybody
	ctx, own := w.client.span(ctx, s.Pool, s.Method)
	a, err := w.client.once(ctx, cfg, request{method: s.Method, args: s.Args, raw: s.Raw, told: w.told, hop: t.hop()})
	endSpan(own, err)
	if err != nil {
		return answer{}, t, t.failed(s, err)
	}
	return a, t, nil
}
