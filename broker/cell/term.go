//go:build linux

package cell

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/zmqio"
)

// term is one term of office: a broker, from the lock to its end.
type term struct {
	epoch uint64
	stop  context.CancelCauseFunc
	ended chan error // brings how it ended, once
	over  chan struct{}
}

// rule sees to it that a master has a broker, and that the broker says the
// epoch that the master has claimed.
func (c *Candidate) rule(ctx context.Context) {
	switch {
	case c.leads == 0 || ctx.Err() != nil:
	case c.term == nil:
		ctx, stop := context.WithCancelCause(ctx)
		epoch, before := c.leads, c.last
		t := &term{epoch: epoch, stop: stop, ended: make(chan error, 1), over: make(chan struct{})}
		c.term, c.last = t, t
		c.beside.Go(func() {
			defer close(t.over)
			defer stop(nil)
			t.ended <- c.serve(ctx, epoch, before)
		})
	case c.term.epoch != c.leads:
		c.term.epoch = c.leads
		if b := c.Broker(); b != nil {
			b.SetEpoch(c.leads)
		}
	}
}

// yield stops the broker of a master that is none any more. It does not wait
// for that.
func (c *Candidate) yield() {
	if c.leads = 0; c.term != nil {
		c.term.stop(broker.ErrReplaced)
		c.term = nil
	}
}

// serve runs the broker of one term. It beats until the broker does.
func (c *Candidate) serve(ctx context.Context, epoch uint64, before *term) error {
	will, over := newTestament(), make(chan struct{})
	defer close(over)
	b, err := c.bind(ctx, epoch, before, will)
	if err != nil || b == nil {
		return err
	}
	c.beside.Go(func() { c.notary(epoch, will, over) })
	c.mu.Lock()
	c.server = b
	c.mu.Unlock()
	if now := c.leadsUnder(); now > epoch { // it was raised meanwhile
		b.SetEpoch(now)
	}
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.server == b {
			c.server = nil
		}
	}()
	if c.o.Beside == nil {
		return b.Run(ctx)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	aside := make(chan error, 1)
	go func() {
		err := c.o.Beside(ctx, b)
		stop(err)
		aside <- err
	}()
	err = b.Run(ctx)
	stop(err)
	return errors.Join(err, <-aside)
}

// leadsUnder is the epoch under which this candidate is master, 0 if it is none.
func (c *Candidate) leadsUnder() uint64 {
	if s := c.standing(time.Now()); s.Role == heartbeat.Master {
		return s.Holder.Epoch
	}
	return 0
}

// bindAgain is after how long a bind is tried again.
const bindAgain = 2 * time.Millisecond

// bind makes the broker. While somebody else has the endpoint it tries again,
// for Options.Bind, and beats meanwhile. Nil: ctx ended.
func (c *Candidate) bind(ctx context.Context, epoch uint64, before *term, will testament) (*broker.Server, error) {
	o := c.o.Broker
	o.Before, o.Heir = c.inherit(c.after.Load())
	o.Heritage = will.put
	will.put(o.Before)
	o.Cell, o.Epoch, o.Tick, o.Pulse, o.Outdated = c.cell.ID(), epoch, min(20*time.Millisecond, c.o.Limit/25), c.pulse, c.outdated
	began := time.Now()
	said := false
	for {
		if before == nil || ended(before.over) {
			b, err := broker.New(o) //nolint:contextcheck // it does not wait for anybody
			if !errors.Is(err, zmqio.ErrInUse) {
				return b, err
			}
			if waited := time.Since(began); waited > c.o.Bind {
				return nil, fmt.Errorf("master for %s without an endpoint: %w%s", waited.Round(time.Millisecond), err, portHolder(o.Listen))
			} else if waited > c.o.Bind/10 && !said {
				said = true
				c.log.Warn("the endpoint is in use", "endpoint", o.Listen, "by", portHolder(o.Listen), "retried_for", c.o.Bind)
			}
		}
		c.pulse(time.Now())
		select {
		case <-time.After(bindAgain):
		case <-ctx.Done():
			return nil, nil //nolint:nilnil // there is no broker, and nothing is wrong
		}
	}
}

func ended(over <-chan struct{}) bool {
	select {
	case <-over:
		return true
	default:
		return false
	}
}
