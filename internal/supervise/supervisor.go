package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core/sizing"
)

// Bounds of the processes' lives.
const (
	startBound   = time.Minute      // from a process's start to its first message
	leaveBound   = 30 * time.Second // from the end of its Serve to its own, and to it from the end of the grace
	evictSpare   = 2 * time.Second  // from the deadline of the neighbours to their process's end
	youngFor     = 10 * time.Second // whoever ends sooner is replaced later each time
	backoffFirst = 100 * time.Millisecond
	backoffMost  = 30 * time.Second
	firstTries   = 5 // without any process that came up: then the program is wrong
	evictedMost  = 2 // of one seat, at once; the oldest makes room
)

// Options of a supervisor. All fields but Elastic are needed.
type Options struct {
	Name       string  // of the program's nodes; a process's is that, a dot, and its number
	Shares     []Share // one seat each, to begin with
	Elastic    Elastic // the pools that get more of them, and fewer
	Beat       time.Duration
	Misses     int           // a process whose loop is silent for Beat × Misses hangs
	Grace      time.Duration // that the processes give their sessions when they are to end
	Neighbours time.Duration // that the sessions beside a hung one have to end
	Debugger   string        // that may look at a hung process: a name, NoDebugger, or empty for what is installed
	Logger     *slog.Logger
}

// Supervisor keeps the seats filled.
type Supervisor struct {
	// fixed after Run
	o      Options
	events chan event
	stdout *sink
	stderr *sink

	// owned by the loop
	sizer   *sizing.Sizer   // nil: the seats stay as they are
	drained map[string]bool // pools one of whose processes was drained
	seats   []*seat
	alive   []*process
	beats   *heartbeat.Monitor[*process]
	number  int   // of processes that were started
	came    bool  // some process came up
	tries   int   // until then
	stop    bool  // the program is to end
	killed  int   // processes that did not end by themselves then
	failed  error // why Run gives up
}

// seat is a place that one process fills.
type seat struct {
	share   Share
	process *process
	evicted []*process // that were its own, oldest first
	backoff *backoff.ExponentialBackOff
	due     time.Time // when to fill it; zero: it is filled, or stays empty
	empty   bool      // for good
	retired bool      // its process is to end: the pool shrinks
}

func newSeat(share Share, due time.Time) *seat {
	return &seat{share: share, due: due, backoff: &backoff.ExponentialBackOff{
		InitialInterval: backoffFirst, Multiplier: 2, RandomizationFactor: 0.2, MaxInterval: backoffMost,
	}}
}

// Run keeps one worker process in every seat until ctx ends or all of them have
// ended in good order, and waits for all of them. It fails where none comes up
// in the first place, or one has to be killed at the end.
func Run(ctx context.Context, o Options) error {
	s := &Supervisor{
		o: o, events: make(chan event, 64), stdout: newSink(os.Stdout), stderr: newSink(os.Stderr),
	}
	tick := min(max(o.Beat/20, 5*time.Millisecond), 50*time.Millisecond)
	s.beats = heartbeat.New[*process](tick)
	now := time.Now()
	for _, share := range o.Shares {
		s.seats = append(s.seats, newSeat(share, now))
	}
	s.sizer, s.drained = newSizer(o.Elastic), map[string]bool{}
	s.run(ctx, tick)
	s.stdout.close()
	s.stderr.close()
	switch {
	case s.failed != nil:
		return s.failed
	case s.killed > 0:
		return fmt.Errorf("%d worker processes did not end and were killed", s.killed)
	}
	return nil
}

func (s *Supervisor) run(ctx context.Context, tick time.Duration) {
	turn := time.NewTicker(tick)
	defer turn.Stop()
	s.look(time.Now())
	ended := ctx.Done()
	for !s.over() {
		select {
		case e := <-s.events:
			s.take(time.Now(), e)
		case now := <-turn.C:
			s.look(now)
		case <-ended:
			ended = nil
			s.end(time.Now())
		}
	}
}

// over is whether nothing lives and nothing is to be started.
func (s *Supervisor) over() bool {
	return len(s.alive) == 0 && !slices.ContainsFunc(s.seats, func(t *seat) bool { return !t.empty })
}

// take takes what a process's goroutines tell.
func (s *Supervisor) take(now time.Time, e event) {
	p := e.process
	switch {
	case e.end != nil:
		s.ended(now, p, e)
		return
	case p.phase == dying:
		return
	}
	switch m := e.message; m.Is {
	case isUp:
		s.up(now, p, m)
	case isBeat:
		s.beat(now, p, m)
	case isDone, isFailed:
		s.served(now, p, m)
	}
}

// served takes note that the process's Serve has returned: it beats no more,
// and is to end.
func (s *Supervisor) served(now time.Time, p *process, m message) {
	s.beats.Forget(p)
	switch {
	case p.phase == evicted: // those that hang keep it from ending
		s.recycle(p)
		return
	case m.Is == isDone:
		p.phase, p.done = leaving, true
	}
	p.why, p.until = m.Text, now.Add(leaveBound)
}

func (s *Supervisor) up(now time.Time, p *process, m message) {
	if p.phase != starting {
		return
	}
	s.came = true
	p.phase, p.until = serving, time.Time{}
	p.log = p.log.With("node", m.Node)
	s.beats.Watch(now, p, s.o.Beat, s.o.Misses)
	p.log.Info("worker process serves", "pool", p.seat.share.Pool, "slots", p.seat.share.Slots, "after", now.Sub(p.started).Round(time.Millisecond))
}

func (s *Supervisor) beat(now time.Time, p *process, m message) {
	s.beats.Beat(now, p)
	p.load, p.told = m.Load, now
	if m.Registered && !p.registered {
		p.registered = true
		p.log.Debug("worker process is registered", "after", now.Sub(p.started).Round(time.Millisecond))
	}
	switch {
	case p.phase == serving && m.Hung > 0 && !p.seat.retired:
		s.evict(now, p, m)
	case p.phase == evicted && m.Draining && m.Held <= m.Hung:
		p.log.Info("only what hangs is left in the worker process: it is dumped and killed", "hung", m.Hung)
		s.recycle(p)
	}
}

// evict drains a process of the neighbours of a hung session and fills its seat
// anew.
func (s *Supervisor) evict(now time.Time, p *process, m message) {
	t := p.seat
	p.phase, p.until = evicted, now.Add(s.o.Neighbours+evictSpare)
	p.log.Warn("a session hangs in a worker process: it is drained and replaced", "hung", m.Hung, "others", m.Held-m.Hung, "others_may_take", s.o.Neighbours)
	if err := p.link.send(message{Is: isEvict, Deadline: s.o.Neighbours}, nil); err != nil {
		p.log.Warn("the worker process takes no orders", "error", err)
	}
	t.evicted = append(t.evicted, p)
	if len(t.evicted) > evictedMost {
		s.recycle(t.evicted[0])
	}
	t.process = nil
	s.vacant(now, p)
	s.look(now)
}

// recycle kills a process that was drained of the neighbours of a hung session.
func (s *Supervisor) recycle(p *process) {
	if p.phase != dying {
		p.condemn(verdict{session.ErrWorkerLost, "its process was recycled, because another session hung in it", unhurried})
	}
}

// look starts what is due, and finds those that are silent or too slow.
func (s *Supervisor) look(now time.Time) {
	for _, c := range s.beats.Check(now) {
		if p := c.Who; c.To == heartbeat.Gone && p.phase != dying {
			text := fmt.Sprintf("no beat from its work loop for %s; killed by its supervisor (process %d)", c.Silent.Round(time.Millisecond), os.Getpid())
			p.log.Error("worker process hung: it is dumped, killed and replaced", "pool", p.seat.share.Pool, "why", text)
			p.condemn(verdict{session.ErrWorkerHung, text, hurried})
		}
	}
	for _, p := range s.alive {
		if !p.until.IsZero() && now.After(p.until) {
			s.tooSlow(p)
		}
	}
	s.resize(now)
	for _, t := range s.seats {
		if !t.due.IsZero() && !now.Before(t.due) {
			s.fill(now, t)
		}
	}
}

func (s *Supervisor) tooSlow(p *process) {
	switch {
	case p.phase == evicted:
		s.recycle(p)
	case s.stop:
		s.killed++
		p.log.Error("worker process does not end: it is dumped and killed")
		p.condemn(verdict{session.ErrWorkerLost, "its process did not end in time, and was killed by its supervisor", unhurried})
	case p.done:
		p.log.Error("worker process does not end after it has served: it is dumped and killed", "within", leaveBound)
		p.condemn(verdict{session.ErrWorkerLost, "its process did not end after it had served", unhurried})
	default:
		p.log.Error("worker process does not come to serve: it is dumped and killed", "within", startBound)
		p.condemn(verdict{session.ErrWorkerLost, "its process did not come to serve", unhurried})
	}
}

// fill starts a process for a seat.
func (s *Supervisor) fill(now time.Time, t *seat) {
	t.due = time.Time{}
	s.number++
	name := fmt.Sprintf("%s.%d", s.o.Name, s.number)
	p, err := s.start(t, name)
	if err != nil {
		s.o.Logger.Error("worker process not started", "process", name, "error", err)
		t.due = now.Add(t.backoff.NextBackOff())
		s.tried(err)
		return
	}
	t.process = p
	s.alive = append(s.alive, p)
	p.log.Debug("worker process started", "pool", t.share.Pool, "slots", t.share.Slots)
}

// ended takes note that a process is gone, and decides what becomes of its seat.
func (s *Supervisor) ended(now time.Time, p *process, e event) {
	s.alive = slices.DeleteFunc(s.alive, func(q *process) bool { return p == q })
	s.beats.Forget(p)
	t := p.seat
	t.evicted = slices.DeleteFunc(t.evicted, func(q *process) bool { return p == q })
	lived := now.Sub(p.started).Round(time.Millisecond)
	defer s.sweep()
	if t.process != p {
		p.log.Info("worker process is gone", "lived", lived, "why", e.end.Text)
		return
	}
	t.process = nil
	switch {
	case s.stop:
		t.empty = true
		p.log.Info("worker process is gone", "lived", lived)
	case t.retired:
		t.empty = true
		p.log.Info("worker process is gone: the pool has shrunk", "lived", lived)
	case p.done: // however its program ends then
		t.empty, s.drained[t.share.Pool] = true, true
		p.log.Info("worker process has ended in good order: it is not replaced", "lived", lived, "why", p.why)
	default:
		s.vacant(now, p)
		why := e.end.Text
		if p.why != "" {
			why = p.why
		}
		p.log.Warn("worker process is gone", "lived", lived, "why", why, "replaced_in", max(0, t.due.Sub(now)).Round(time.Millisecond))
		if !s.came {
			s.tried(errors.New(why))
		}
	}
}

// vacant has a seat filled anew: at once, or, where processes die young, later
// each time.
func (s *Supervisor) vacant(now time.Time, p *process) {
	t := p.seat
	if s.stop {
		t.empty = true
		return
	}
	if now.Sub(p.started) >= youngFor {
		t.backoff.Reset()
		t.due = now
		return
	}
	t.due = now.Add(t.backoff.NextBackOff())
}

// tried counts what failed before anything has worked, and gives up.
func (s *Supervisor) tried(err error) {
	if s.tries++; s.came || s.tries < firstTries || s.failed != nil {
		return
	}
	s.failed = fmt.Errorf("no worker process comes up, %d were tried: %w", s.tries, err)
	s.end(time.Now())
}

// end has every process end, with the grace that its sessions get.
func (s *Supervisor) end(now time.Time) {
	s.stop = true
	for _, t := range s.seats {
		t.due, t.empty = time.Time{}, true
	}
	for _, p := range s.alive {
		if err := p.link.send(message{Is: isStop}, nil); err != nil {
			p.log.Warn("the worker process takes no orders", "error", err)
		}
		if p.phase != dying {
			p.until = now.Add(s.o.Grace + leaveBound)
		}
	}
}
