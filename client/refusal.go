package client

import (
	"context"
	"errors"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// Pause between two tries of what may be had in a moment.
const (
	curePause     = 10 * time.Millisecond
	curePauseMost = 200 * time.Millisecond
)

// deadlineMargin tells a wait that was taken from the context's deadline from one
// of its own.
const deadlineMargin = 100 * time.Millisecond

// defaultWait is how long a broker lets an open wait that does not say.
const defaultWait = 30 * time.Second

// insist tries until the refusal is none that time cures, for as long as a
// worker is waited for.
func (c *Client) insist(ctx context.Context, cfg *openConfig, hop int, try func() error) error {
	begun := c.begun(cfg.wish.Wait)
	err := try()
	if err == nil || !curable(err, cfg.late, hop) {
		return err
	}
	return c.persist(ctx, cfg, hop, begun, err, try)
}

// begun is when a wait began: the loop's time, which costs no look at the clock, where
// a tick does not count.
func (c *Client) begun(wait time.Duration) time.Time {
	if wait <= 0 || wait >= 100*tick {
		return c.loop.Time()
	}
	return time.Now()
}

// persist is insist after a try that has ended with err.
func (c *Client) persist(ctx context.Context, cfg *openConfig, hop int, begun time.Time, err error, try func() error) error {
	wait := cfg.wish.Wait
	if wait <= 0 {
		wait = defaultWait
	}
	until := begun.Add(wait)
	if end, has := ctx.Deadline(); has && !end.After(until.Add(deadlineMargin)) {
		until = end.Add(deadlineMargin) // the wait was the context's: so is its end
	}
	for pause := curePause; ; pause = min(2*pause, curePauseMost) {
		if err == nil || !curable(err, cfg.late, hop) || short(ctx, until, pause) {
			return c.rest(ctx, until, err, cfg.late)
		}
		again := time.NewTimer(pause)
		select {
		case <-again.C:
		case <-c.ended:
		case <-ctx.Done():
			again.Stop()
			return timeUp(ctx, err)
		}
		if cfg.wish.Wait > 0 {
			cfg.wish.Wait = max(time.Until(until), time.Millisecond)
		}
		refusal := err
		if err = try(); ctx.Err() != nil && errors.Is(err, session.NotRun) {
			return timeUp(ctx, refusal) // it ended while this was asked once more
		}
	}
}

// curable reports that a refusal may be another one in a moment: of a pool that
// no node serves yet, where the caller waits for those; of a full queue on the
// way, for what was done before should not be lost, and who waits here takes
// nothing new on.
func curable(err error, late bool, hop int) bool {
	if !errors.Is(err, session.NotRun) {
		return false
	}
	switch session.CodeOf(err) {
	case session.ErrPoolUnknown, session.ErrLabelsUnknown:
		return late
	case session.ErrOverloaded:
		return hop > 0
	}
	return false
}

// short reports that there is no time for one more try after a pause: one that
// the deadline cuts off would leave its caller with less than he knows by now.
func short(ctx context.Context, until time.Time, pause time.Duration) bool {
	end, has := ctx.Deadline()
	return time.Until(until) < pause || has && time.Until(end) < pause+curePause
}

// rest waits until a refusal is final: who waits for a pool waits for as long as
// for a worker.
func (c *Client) rest(ctx context.Context, until time.Time, err error, late bool) error {
	if err == nil || !late || !curable(err, true, 0) {
		return err
	}
	end := time.NewTimer(time.Until(until))
	defer end.Stop()
	select {
	case <-end.C:
	case <-c.ended:
	case <-ctx.Done():
		return timeUp(ctx, err)
	}
	return err
}

// timeUp is the error of who waited in vain for what the refusal is about.
func timeUp(ctx context.Context, refusal error) error {
	e := gaveUp(ctx.Err())
	e.Text = refusal.Error()
	return e
}
