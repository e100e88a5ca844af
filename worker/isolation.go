package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/limpet-rpc/limpet/internal/startrec"
	"github.com/limpet-rpc/limpet/internal/supervise"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
	"github.com/limpet-rpc/limpet/worker/core/sizing"
)

const (
	defaultBeat       = time.Second
	defaultMisses     = 3
	defaultNeighbours = time.Minute
	processesMost     = 4096 // worker processes of one program

	// firstWord is by how much a supervisor is ahead of the brokers in judging a
	// silent process: it looks at it, kills it, and tells why.
	firstWord = 2 * time.Second

	// orphanGrace is how long a worker process whose supervisor has died may go
	// on ending its sessions.
	orphanGrace = time.Second
)

// InWorkerProcess reports that this process is a worker process, started by the
// Serve of another one that runs the same program (Options.SlotsPerProcess).
// What a program does once for all its workers, such as listening at a port or
// being a broker, is not to be done there.
func InWorkerProcess() bool { return supervise.InChild() }

// supervised runs the slots of all pools in worker processes.
func supervised(ctx context.Context, o Options, pools []Served) error {
	shares, err := share(o.SlotsPerProcess, pools)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	grows, err := elastic(o, pools)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	s := supervise.Options{
		Name: o.Name, Shares: shares, Elastic: grows, Beat: o.Beat, Misses: o.Misses, Grace: o.Grace, Neighbours: o.Neighbours,
		Debugger: o.Debugger, Logger: o.Logger,
	}
	if s.Name == "" {
		s.Name = nameOf(hostname())
	}
	s.Beat, s.Misses = orDefault(s.Beat, defaultBeat), orDefault(s.Misses, defaultMisses)
	s.Neighbours = orDefault(s.Neighbours, defaultNeighbours)
	if s.Logger == nil {
		s.Logger = slog.Default()
	}
	if err := supervise.Run(ctx, s); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	return nil
}

// orDefault is v, or what it means where nobody said.
func orDefault[T int | time.Duration](v, otherwise T) T {
	if v <= 0 {
		return otherwise
	}
	return v
}

// share spreads each pool's slots over processes of its own.
func share(each int, pools []Served) ([]supervise.Share, error) {
	if len(pools) == 0 {
		return nil, errNoPools
	}
	var shares []supervise.Share
	seen, most := map[string]bool{}, 0
	for _, p := range pools {
		d, err := p.describe()
		switch {
		case err != nil:
			return nil, err
		case d.Most > 0 && (d.Least%each > 0 || d.Slots%each > 0 || d.Most%each > 0):
			return nil, fmt.Errorf("pool %q: MinSlots %d, Slots %d and MaxSlots %d have to be whole processes of %d", d.Name, d.Least, d.Slots, d.Most, each)
		case seen[d.Name]:
			return nil, fmt.Errorf("pool %q is given twice", d.Name)
		case most+(d.Capacity()+each-1)/each > processesMost:
			return nil, fmt.Errorf("pool %q: %d slots, %d a process: more than %d worker processes", d.Name, d.Capacity(), each, processesMost)
		}
		most += (d.Capacity() + each - 1) / each
		seen[d.Name] = true
		for left := d.Slots; left > 0; left -= each {
			shares = append(shares, supervise.Share{Pool: d.Name, Slots: min(each, left)})
		}
	}
	if len(shares) == 0 {
		return nil, errors.New("the pools have no slots")
	}
	return shares, nil
}

// elastic is what grows and shrinks, counted in processes.
func elastic(o Options, pools []Served) (supervise.Elastic, error) {
	e, cfg := supervise.Elastic{Each: o.SlotsPerProcess}, core.Config{Shared: o.SharedSlots}
	for _, p := range pools {
		d, err := p.describe()
		if err != nil {
			return e, err
		}
		cfg.Pools = append(cfg.Pools, d)
		if d.Most > 0 {
			e.Pools = append(e.Pools, sizing.Pool{
				Name: d.Name, Least: d.Least / e.Each, Most: d.Most / e.Each, GrowAfter: d.GrowAfter, ShrinkAfter: d.ShrinkAfter,
			})
		}
	}
	e.Total = o.SharedSlots / e.Each
	return e, shareSlots(&cfg)
}

// part is a pool of which one process serves some slots.
type part struct {
	Served
	slots int
	why   string // the pool has grown by it
}

func (p part) describe() (core.Pool, error) {
	d, err := p.Served.describe()
	d.Slots, d.Lanes = p.slots, min(d.Lanes, p.slots)
	if d.Most > 0 { // it is told what waits, and its supervisor sees to it
		d.Least, d.Most, d.Why = p.slots, p.slots, p.why
	}
	return d, err
}

func (p part) warm() (most, slots int) {
	most, _ = p.Served.warm()
	return min(most, p.slots), p.slots
}

// serveFor is Serve in a worker process.
func serveFor(ctx context.Context, up *supervise.Parent, o Options, pools []Served) error {
	err := serveShare(ctx, up, o, pools)
	if told := up.Done(err); told != nil && o.Logger != nil {
		o.Logger.Debug("the supervisor is not told of the end", "error", told)
	}
	return err
}

func serveShare(ctx context.Context, up *supervise.Parent, o Options, pools []Served) error {
	mine, err := partOf(pools, up.Share)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	o.Beat = orDefault(o.Beat, defaultBeat)
	o.SharedSlots = 0 // its supervisor has them in mind
	o.Name, o.Misses = up.Name, orDefault(o.Misses, defaultMisses)+int((firstWord+o.Beat-1)/o.Beat)
	n, err := newNode(o, []Served{mine})
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	n.parent = up
	if err := n.rise(); err != nil {
		return errors.Join(fmt.Errorf("serve: %w", err), n.discard())
	}
	ctx, end := context.WithCancel(ctx)
	defer end()
	go n.obey(end)
	return n.run(ctx)
}

// partOf finds the pool that this process is to serve.
func partOf(pools []Served, s supervise.Share) (Served, error) {
	for _, p := range pools {
		d, err := p.describe()
		if err != nil {
			return nil, err
		}
		if d.Name == s.Pool {
			return part{p, s.Slots, s.Why}, nil
		}
	}
	return nil, fmt.Errorf("this worker process was started for pool %q, which Serve was not given", s.Pool)
}

// rise tells the supervisor which node this is, and lends it the lock of the
// start record. The cause that is left there stands until the supervisor puts
// the true one in its place: if it never does, it is dead.
func (n *node) rise() error {
	var lock *os.File
	path := ""
	if n.notes.record != nil {
		lock, path = n.notes.record.File(), startrec.Path(n.notes.dir, n.id)
		why := session.Death{Code: session.ErrWorkerLost, Text: fmt.Sprintf("its supervisor (process %d) has died and took it along", n.parent.Supervisor())}
		if err := startrec.LeaveCause(path, why); err != nil {
			return err
		}
	}
	if err := n.parent.Up(n.id.String(), path, lock); err != nil {
		return fmt.Errorf("tell the supervisor: %w", err)
	}
	return nil
}

// obey does what the supervisor wants. The supervisor's death ends this process,
// whatever its program does after Serve; so this ends with the process.
func (n *node) obey(end func()) {
	for {
		select {
		case o := <-n.parent.Orders():
			switch {
			case o.Evict:
				n.endBy(max(o.Deadline, time.Millisecond))
			case o.Retire:
				n.endBy(0)
			default:
				end()
			}
		case <-n.parent.Gone():
			signal.Ignore(syscall.SIGPIPE) // it read what this process writes
			n.log.Error("the supervisor of this worker process is gone: it ends", "supervisor", n.parent.Supervisor(), "within", orphanGrace)
			time.AfterFunc(orphanGrace, func() { os.Exit(1) })
			n.endBy(time.Millisecond)
			return
		}
	}
}

// endBy has the node drain, as a broker may ask it to: by the deadline, or, where
// that is 0, when its sessions have ended.
func (n *node) endBy(deadline time.Duration) {
	select {
	case n.drained <- deadline:
	default: // it drains already
	}
}

// beatUp tells the supervisor that this loop turns, once what it has said to brokers
// has left: a process that is starved between the two would be given up by them first,
// and nobody would know why.
func (n *node) beatUp(now time.Time) {
	if n.parent == nil {
		return
	}
	n.loop.Flush()
	n.parent.Beat(now, func() supervise.Load {
		n.mu.Lock()
		defer n.mu.Unlock()
		load := supervise.Load{Held: n.core.Held(), Hung: n.core.Quarantined(), Draining: n.core.Draining(), Registered: n.core.Registered()}
		if look := n.core.LookAt(n.parent.Pool); look.Waiting > 0 {
			load.Waiting, load.Share, load.Oldest, load.Age = look.Waiting, look.Share, look.Oldest, now.Sub(look.Told)
		}
		return load
	})
}
