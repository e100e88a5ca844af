package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/session"
)

// OpenOption says more about the session that Open asks for.
type OpenOption func(*openConfig)

type openConfig struct {
	wish  core.Wish
	place func(int)
	call  []CallOption
	late  bool // pools that no node serves are waited for
}

// WithCall says more about the call that Do and OpenCall send along.
func WithCall(opts ...CallOption) OpenOption {
	return func(o *openConfig) { o.call = append(o.call, opts...) }
}

// WithLabels asks for a worker whose node has all these labels.
func WithLabels(labels map[string]string) OpenOption {
	return func(o *openConfig) { o.wish.Labels = labels }
}

// WithWant asks for a worker whose node says this value of itself
// (worker.Config.Value), at most 255 bytes; the open waits while none with a free
// slot does. In a pool whose policy is not "equal" it is refused with
// ErrLabelsUnknown.
func WithWant(value string) OpenOption { return func(o *openConfig) { o.wish.Want = value } }

// WithPriority moves the open before those of lower priority; -8 to 8, 0 is
// the default. Waiting raises everybody's priority.
func WithPriority(p int) OpenOption { return func(o *openConfig) { o.wish.Priority = p } }

// WithWait bounds the wait for a free worker, and for a broker where none
// answers; past it Open ends with ErrNoWorker. Without it the context's deadline
// counts, and without that the broker's default of 30 s, which needs a broker.
func WithWait(d time.Duration) OpenOption { return func(o *openConfig) { o.wish.Wait = d } }

// WithLatePools waits for a pool that no node serves, or for the labels asked
// for, as for a worker: within WithWait or the context's deadline, or 30 s.
// Without it that is ErrPoolUnknown or ErrLabelsUnknown at once. Of a call that
// goes on it holds for all steps.
func WithLatePools() OpenOption { return func(o *openConfig) { o.late = true } }

// WithPlace has f called with the place in the queue while Open waits, 1 for
// the next. It is called from the client's loop and must not block.
func WithPlace(f func(place int)) OpenOption {
	return func(o *openConfig) { o.wish.Notify, o.place = true, f }
}

// WithLimits lowers the pool's limits for this session.
func WithLimits(l session.Limits) OpenOption { return func(o *openConfig) { o.wish.Limits = l } }

// Open asks for a session in a pool and blocks until a worker is assigned, the
// open is refused, or ctx ends; an open that was given up never keeps a
// worker. Errors are *session.Error, among them ErrPoolUnknown, ErrNoWorker,
// ErrOverloaded, ErrOpenFailed and ErrUnreachable.
func (c *Client) Open(ctx context.Context, pool string, opts ...OpenOption) (*Session, error) {
	cfg, err := c.wish(ctx, pool, opts)
	if err != nil {
		return nil, fmt.Errorf("open session in pool %q: %w", pool, err)
	}
	var s *Session
	err = c.insist(ctx, &cfg, 0, func() error {
		var err error
		s, err = c.open(ctx, &cfg)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open session in pool %q: %w", pool, err)
	}
	return s, nil
}

// wish gathers what an open asks for; it is an error where ctx has ended.
func (c *Client) wish(ctx context.Context, pool string, opts []OpenOption) (openConfig, error) {
	var cfg openConfig
	if len(opts) > 0 {
		cfg = configured(opts)
	}
	cfg.wish.Pool = pool
	if deadline, has := ctx.Deadline(); has && cfg.wish.Wait == 0 {
		cfg.wish.Wait = max(time.Until(deadline), time.Millisecond)
	}
	if err := ctx.Err(); err != nil {
		return cfg, gaveUp(err)
	}
	return cfg, nil
}

func configured(opts []OpenOption) (cfg openConfig) {
	for _, o := range opts {
		o(&cfg)
	}
	return cfg
}

func (c *Client) open(ctx context.Context, cfg *openConfig) (*Session, error) {
	w := newOpening(cfg)
	w.begin(ctx, c)
	c.leave(&w.parcel, &w.fx)
	if !w.ended(ctx, w.done) {
		c.giveBack(w)
		return nil, gaveUp(ctx.Err())
	}
	opened, err := w.session, w.err
	w.release()
	if err != nil {
		return nil, err
	}
	return c.session(opened), nil
}

// giveBack gives an open up. One that has ended already, though its end may
// still be on the way here, is closed if it got a session.
func (c *Client) giveBack(w *opening) {
	found := false
	c.step(func(now time.Time, fx *core.Effects) {
		if found = w.drop(); w.asked {
			found = c.core.Withdraw(now, &w.core, fx)
		}
	})
	if found {
		return
	}
	<-w.done
	if w.session != nil {
		c.step(func(now time.Time, fx *core.Effects) { c.core.Close(now, w.session, nobody{}, fx) })
	}
}

var errDone = &session.Error{Code: session.ErrClientDone, Outcome: session.NotRun}

// nobody waits for nothing.
type nobody struct{}

func (nobody) settle(*core.Result) {}

// gaveUp is the error of somebody whose context ended before anything was
// sent that could have run.
func gaveUp(err error) *session.Error {
	code := session.ErrCancelled
	if errors.Is(err, context.DeadlineExceeded) {
		code = session.ErrDeadline
	}
	return &session.Error{Code: code, Outcome: session.NotRun, Cause: err}
}
