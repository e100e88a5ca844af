//go:build linux

package cell

import (
	"errors"
	"fmt"
	"time"

	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/hostlock"
)

// step has the election take one thing, and carries out what it asks for. Only
// the cell's loop calls it.
func (c *Candidate) step(f func(e *heartbeat.Election, a *heartbeat.Acts)) {
	var a heartbeat.Acts
	c.mu.Lock()
	f(c.election, &a)
	c.mu.Unlock()
	c.carryOut(&a)
}

func (c *Candidate) carryOut(a *heartbeat.Acts) {
	for _, t := range a.Turns {
		c.tell(t)
	}
	if a.Yield != "" {
		c.yield()
	}
	if a.Cast {
		c.cast(&a.Note)
	}
	if a.Kill != nil {
		c.kill(*a.Kill)
	}
	if a.Try {
		c.try()
	}
	if a.Look {
		c.look()
	}
	if a.Doubt != nil {
		c.doubt(*a.Doubt)
	}
	if a.Lead != 0 {
		c.leads = a.Lead
	}
}

// pulse is a master's tick. The broker's loop calls it, and until there is one
// whoever makes it. It does not wait for anything.
func (c *Candidate) pulse(now time.Time) {
	var a heartbeat.Acts
	c.mu.Lock()
	if c.election.Leads() {
		c.election.Tick(now, &a)
	}
	c.mu.Unlock()
	if a.Cast {
		c.cast(&a.Note)
	}
	if a.Doubt != nil {
		select {
		case c.doubts <- *a.Doubt:
		default:
		}
	}
}

// outdated takes from the broker's loop that a node knows of an epoch.
func (c *Candidate) outdated(epoch uint64) {
	select {
	case c.known <- epoch:
	default:
	}
}

// cast tells all others. Whoever does not read, or has gone, misses it.
func (c *Candidate) cast(n *heartbeat.Note) {
	c.mu.Lock()
	roster := c.roster // replaced, never changed
	c.mu.Unlock()
	note := appendNote(make([]byte, 0, noteSize), n)
	for _, h := range roster {
		to := heartbeat.Candidate(h.Candidate)
		if to == c.self || c.o.Faults.Lose != nil && c.o.Faults.Lose(to) {
			continue
		}
		_ = c.post.Send(h.Candidate, note) // its silence is noticed, and its death
	}
}

// try tries for the lock, and claims it.
func (c *Candidate) try() {
	if c.lock != nil {
		return
	}
	lock, err := c.cell.TryLock()
	switch {
	case errors.Is(err, hostlock.ErrHeld):
		c.look()
		return
	case err != nil:
		c.troubled(err)
		return
	}
	epoch, err := c.claim(lock, c.standing(time.Now()).Epoch)
	if err != nil {
		c.troubled(errors.Join(err, lock.Release()))
		return
	}
	c.lock, c.trouble = lock, ""
	c.unwatch()
	c.step(func(e *heartbeat.Election, a *heartbeat.Acts) { e.Took(time.Now(), epoch, a) })
}

// claim records this candidate as the holder, under an epoch above what is
// recorded and what is known.
func (c *Candidate) claim(lock *hostlock.Lock, above uint64) (epoch uint64, err error) {
	last, err := lock.Recorded()
	switch {
	case errors.Is(err, hostlock.ErrGarbage):
		c.log.Warn("the lock's record cannot be read and is written anew; nodes may know of higher epochs", "error", err)
	case err != nil:
		return 0, err
	}
	if last.Candidate != uint64(c.self) {
		c.after.Store(last.Epoch)
	}
	c.me.Epoch = max(last.Epoch, above) + 1
	return c.me.Epoch, lock.Claim(c.me)
}

// look reads who has the lock, and watches that process.
func (c *Candidate) look() {
	h, held, err := c.cell.Holder()
	if err != nil {
		c.troubled(err)
		return
	}
	if !held || h.Candidate == uint64(c.self) {
		return
	}
	gone := false
	if h != c.holder || c.watched == nil {
		gone = c.watch(h)
	}
	c.step(func(e *heartbeat.Election, a *heartbeat.Acts) { e.Held(time.Now(), holderOf(h), a) })
	if gone {
		c.holderEnded()
	}
}

func holderOf(h hostlock.Holder) heartbeat.Holder {
	return heartbeat.Holder{Candidate: heartbeat.Candidate(h.Candidate), Epoch: h.Epoch}
}

// watch opens a holder's process, and reports whether it has ended by now.
func (c *Candidate) watch(h hostlock.Holder) (gone bool) {
	c.unwatch()
	c.holder = h
	p, err := hostlock.Watch(h)
	switch {
	case err == nil:
		c.watched = p
	case errors.Is(err, hostlock.ErrGone), errors.Is(err, hostlock.ErrNotSame):
		return true
	default:
		c.troubled(err)
	}
	return false
}

func (c *Candidate) unwatch() {
	if c.watched != nil {
		_ = c.watched.Close() // a pidfd: nothing is lost with it
		c.watched = nil
	}
}

func (c *Candidate) holderEnded() {
	h := holderOf(c.holder)
	c.unwatch()
	c.step(func(e *heartbeat.Election, a *heartbeat.Acts) { e.Exited(time.Now(), h, a) })
}

// doubt looks whether the lock is still this master's.
func (c *Candidate) doubt(d heartbeat.Doubt) {
	epoch, err := c.sure(d)
	if err == nil {
		c.step(func(e *heartbeat.Election, a *heartbeat.Acts) { e.Sure(epoch, a) })
		return
	}
	if c.lock != nil {
		_ = c.lock.Release() // it is worth nothing any more
		c.lock = nil
	}
	c.step(func(e *heartbeat.Election, a *heartbeat.Acts) { e.Lost(time.Now(), err.Error(), a) })
}

func (c *Candidate) sure(d heartbeat.Doubt) (epoch uint64, err error) {
	if c.lock == nil {
		return 0, errors.New("the lock is not held")
	}
	if err := c.lock.Check(); err != nil {
		return 0, err
	}
	if d.Above < c.me.Epoch {
		return c.me.Epoch, nil
	}
	return c.claim(c.lock, d.Above)
}

// failure is a kill that came to nothing.
type failure struct {
	holder heartbeat.Holder
	err    error
}

// kill ends the holder's process, unless the lock is another's by now or it is
// too late for that. It waits for the end beside the loop, which hears of it
// by the pidfd.
func (c *Candidate) kill(k heartbeat.Kill) {
	if f := c.o.Faults.Kill; f != nil {
		f(k.Holder)
		return
	}
	h, held, err := c.cell.Holder()
	if err != nil || !held || holderOf(h) != k.Holder {
		c.look()
		return
	}
	if (c.watched == nil || c.holder != h) && c.watch(h) {
		c.holderEnded()
		return
	}
	p := c.watched
	if p == nil {
		c.step(func(e *heartbeat.Election, a *heartbeat.Acts) {
			e.Killed(time.Now(), k.Holder, fmt.Errorf("its process cannot be watched: %s", c.trouble), a)
		})
		return
	}
	if time.Now().After(k.Until) {
		return
	}
	c.beside.Go(func() {
		err := p.Kill(c.o.Limit)
		if err == nil || errors.Is(err, hostlock.ErrSurvived) {
			return
		}
		select {
		case c.failed <- failure{k.Holder, err}:
		case <-time.After(c.o.Limit): // the loop has ended
		}
	})
}
