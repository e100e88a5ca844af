//go:build linux

package cell

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/hostlock"
)

// Candidate is one process's part in a cell. Join makes it known to the others,
// Run makes it work.
type Candidate struct {
	// fixed after Join
	o    Options
	log  *slog.Logger
	tick time.Duration
	self heartbeat.Candidate
	me   hostlock.Holder
	cell *hostlock.Cell
	seat *hostlock.Seat
	post *hostlock.Post

	heard  chan heartbeat.Note  // from the reader; full: a note is lost
	doubts chan heartbeat.Doubt // from the broker's loop; full: one waits already
	known  chan uint64          // epochs, from the broker's loop; full: it hears of them again
	failed chan failure         // of kills; nobody reads it: the kill is dropped

	beside sync.WaitGroup // everything that Run has started
	after  atomic.Uint64  // the epoch of the master before, as the lock had it; 0: not known

	// owned by the loop
	lock    *hostlock.Lock
	watched *hostlock.Process
	holder  hostlock.Holder // whose process that is
	leads   uint64          // the epoch under which this candidate is master; 0: it is none
	term    *term           // nil: no broker runs
	last    *term           // the one before
	seen    time.Time       // when the roster was read
	trouble string          // what was logged last

	// guarded by mu
	mu       sync.Mutex
	election *heartbeat.Election
	roster   []hostlock.Holder
	server   *broker.Server
	past     []Event
}

// Join opens the cell and makes this process one of its candidates. An error
// says what is wrong with the folder, and what helps.
func Join(o Options) (*Candidate, error) {
	if err := o.settle(); err != nil {
		return nil, err
	}
	c := &Candidate{
		o: o, tick: max(o.Limit/50, time.Millisecond),
		heard: make(chan heartbeat.Note, 256), doubts: make(chan heartbeat.Doubt, 1), known: make(chan uint64, 1), failed: make(chan failure),
	}
	var draw [8]byte
	if _, err := rand.Read(draw[:]); err != nil {
		return nil, fmt.Errorf("cell: draw a candidate's id: %w", err)
	}
	c.self = heartbeat.Candidate(binary.BigEndian.Uint64(draw[:]) | 1)
	c.log = o.Logger.With("candidate", c.self.String())
	if err := c.join(); err != nil {
		return nil, fmt.Errorf("cell: %w", errors.Join(err, c.leave()))
	}
	c.election = heartbeat.NewElection(time.Now(), heartbeat.ElectionConfig{Self: c.self, Limit: o.Limit, Tick: c.tick, PairKills: o.PairKills})
	return c, nil
}

func (c *Candidate) join() (err error) {
	if c.cell, err = hostlock.OpenCell(c.o.Dir); err != nil {
		return err
	}
	if c.me, err = c.cell.Self(uint64(c.self), c.o.Broker.Listen); err != nil {
		return err
	}
	if c.seat, err = c.cell.Register(c.me); err != nil {
		return err
	}
	c.post, err = c.cell.Join(uint64(c.self))
	return err
}

// leave gives everything back that the candidate has of its cell.
func (c *Candidate) leave() error {
	var errs []error
	if c.watched != nil {
		errs = append(errs, c.watched.Close())
	}
	if c.lock != nil {
		errs = append(errs, c.lock.Release())
	}
	if c.seat != nil {
		errs = append(errs, c.seat.Close())
	}
	if c.cell != nil {
		errs = append(errs, c.cell.Close())
	}
	return errors.Join(errs...)
}

// Close leaves the cell where Run is not called after all.
func (c *Candidate) Close() error { return c.leave() }

// Run is a candidate, and a master when it is elected, until ctx ends or it
// cannot go on, and blocks. It returns nil where ctx ended. A master whose ctx
// ends drains its broker first.
func (c *Candidate) Run(ctx context.Context) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	c.beside.Go(func() { c.read(running) })
	c.log.Info("candidate joins", "cell", c.cell.Dir(), "id", c.cell.ID(), "limit", c.o.Limit)
	err := c.loop(running)
	stop()
	err = errors.Join(err, c.retire(), c.leave())
	c.beside.Wait()
	if err != nil {
		return fmt.Errorf("cell %s: %w", c.cell.Dir(), err)
	}
	return nil
}

// retire waits for the end of the term, if there is one, and lets the others
// know that the lock is free.
func (c *Candidate) retire() (err error) {
	if c.term != nil {
		err = <-c.term.ended
	}
	if c.lock != nil {
		err = errors.Join(err, c.lock.Release())
		c.step(func(e *heartbeat.Election, a *heartbeat.Acts) { e.Resign(time.Now(), a) })
	}
	return err
}

// read hands over what the others say.
func (c *Candidate) read(ctx context.Context) {
	buf := make([]byte, hostlock.MaxDatagram)
	for ctx.Err() == nil {
		if !c.post.Wait(time.Second) {
			continue
		}
		for {
			from, n, ok := c.post.Recv(buf)
			if !ok {
				break
			}
			if note, ok := parseNote(heartbeat.Candidate(from), buf[:n]); ok {
				select {
				case c.heard <- note:
				default:
				}
			}
		}
	}
}

// loop is the work of a candidate. It ends with ctx, or with a term that
// failed.
func (c *Candidate) loop(ctx context.Context) error {
	ticks := time.NewTicker(c.tick)
	defer ticks.Stop()
	c.turn()
	for {
		c.rule(ctx)
		select {
		case <-ctx.Done():
			return nil
		case n := <-c.heard:
			c.hear(n)
		case <-c.watchedEnds():
			c.holderEnded()
		case <-ticks.C:
			c.turn()
		case f := <-c.failed:
			c.step(func(e *heartbeat.Election, a *heartbeat.Acts) { e.Killed(time.Now(), f.holder, f.err, a) })
		case d := <-c.doubts:
			c.doubt(d)
		case epoch := <-c.known:
			c.step(func(e *heartbeat.Election, a *heartbeat.Acts) { e.Known(epoch, a) })
		case err := <-c.termEnds():
			if c.term = nil; ctx.Err() == nil {
				return err
			}
			return nil
		}
	}
}

// turn is what a candidate does every tick. A master's election ticks in its
// broker's loop, see pulse.
func (c *Candidate) turn() {
	now := time.Now()
	s := c.standing(now)
	if s.Silent >= c.o.Limit/2 || now.Sub(c.seen) >= c.o.Limit {
		c.readRoster(now)
	}
	if s.Role != heartbeat.Master {
		c.step(func(e *heartbeat.Election, a *heartbeat.Acts) { e.Tick(now, a) })
	}
}

func (c *Candidate) hear(n heartbeat.Note) {
	if !c.lists(n.From) {
		c.readRoster(time.Now())
	}
	c.step(func(e *heartbeat.Election, a *heartbeat.Acts) { e.Hear(time.Now(), n, a) })
}

// lists reports whether a candidate is known to be in the roster.
func (c *Candidate) lists(who heartbeat.Candidate) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.roster, func(h hostlock.Holder) bool { return h.Candidate == uint64(who) })
}

// readRoster reads who is recorded in the cell. One that cannot be read is as
// it was.
func (c *Candidate) readRoster(now time.Time) {
	c.seen = now
	roster, err := c.cell.Roster()
	if err != nil {
		c.troubled(err)
		return
	}
	list := make([]heartbeat.Candidate, len(roster))
	for i, h := range roster {
		list[i] = heartbeat.Candidate(h.Candidate)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roster = roster
	c.election.Roster(list)
}

// watchedEnds is closed when the holder's process has ended.
func (c *Candidate) watchedEnds() <-chan struct{} {
	if c.watched == nil {
		return nil
	}
	return c.watched.Done()
}

// termEnds brings how the term ended.
func (c *Candidate) termEnds() <-chan error {
	if c.term == nil {
		return nil
	}
	return c.term.ended
}

func (c *Candidate) standing(now time.Time) heartbeat.Standing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.election.Standing(now)
}

// troubled logs what the system refuses, once for each thing that it says.
func (c *Candidate) troubled(err error) {
	if text := err.Error(); text != c.trouble {
		c.trouble = text
		c.log.Warn("cell in trouble", "error", err)
	}
}

// Run joins a cell and is a candidate of it until ctx ends, see Candidate.Run.
func Run(ctx context.Context, o Options) error {
	c, err := Join(o)
	if err != nil {
		return err
	}
	return c.Run(ctx)
}
