// Package fire sends real hits to the example's front end and checks every answer.
// Halfway it can kill one worker process, to show what becomes of the hits that were
// running there and of those that follow.
package fire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Options say where to fire, how much, and at whom.
type Options struct {
	Front       string        // the front's address, "http://host:port"
	Hits        int           // how many in all
	Concurrency int           // how many at once
	Workers     []int         // process ids; each must have answered a hit before the firing starts
	Kill        int           // process id of the worker to kill halfway, one of Workers; 0 kills nobody
	Ready       time.Duration // the longest to wait for the front and for Workers
	Out         io.Writer     // progress and summary
}

// Run fires all hits, prints as it goes and ends with a table. It blocks until the
// last hit is answered. The error says what was not right; nil means that every
// answer was, apart from those lost with the killed worker.
func Run(ctx context.Context, o Options) error {
	if o.Kill != 0 && !slices.Contains(o.Workers, o.Kill) {
		return fmt.Errorf("process %d is to be killed, but is none of the workers %v", o.Kill, o.Workers)
	}
	f := &firing{
		Options: o,
		http:    &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: o.Concurrency}, Timeout: time.Minute},
		tally:   newTally(),
		lines:   lines{out: o.Out},
		half:    make(chan struct{}),
	}
	defer f.http.CloseIdleConnections()
	if err := f.awaitReady(ctx); err != nil {
		return err
	}
	if o.Hits == 0 {
		return nil
	}
	start := time.Now()
	f.fireAll(ctx)
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("stopped after %d of %d hits: %w", f.tally.hits, o.Hits, err)
	}
	f.tally.summarize(o.Out, time.Since(start))
	return errors.Join(f.tally.verdict(), f.killVerdict())
}

// firing is one Run.
type firing struct {
	// fixed after Run began
	Options
	http *http.Client

	next   atomic.Int64
	half   chan struct{} // closed when half of the hits have been sent
	killed atomic.Int64  // when the worker was killed, in Unix nanoseconds; 0 before
	lines  lines
	tally  *tally
}

// awaitReady hits the front until each of the workers has answered once, or any
// where none is named.
func (f *firing) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, f.Ready)
	defer cancel()
	missing := slices.Clone(f.Workers)
	for n := 0; ; n++ {
		h := f.fire(ctx, kinds[0], n)
		if h.problem == "" {
			missing = slices.DeleteFunc(missing, func(pid int) bool { return pid == h.answer.PID })
			if len(missing) == 0 {
				return nil
			}
			continue
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not ready after %v: no answer yet from the processes %v; last: %s", f.Ready, missing, h.problem)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// fireAll keeps Concurrency hits in flight until all have been answered.
func (f *firing) fireAll(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	var all, killer sync.WaitGroup
	if f.Kill != 0 {
		killer.Go(func() { f.killHalfway(ctx) })
	}
	for range f.Concurrency {
		all.Go(func() {
			for ctx.Err() == nil {
				n := int(f.next.Add(1))
				if n > f.Hits {
					return
				}
				if n == (f.Hits+1)/2 {
					close(f.half)
				}
				h := f.fire(ctx, kinds[order[n%len(order)]], n)
				if ctx.Err() == nil {
					f.settle(h)
				}
			}
		})
	}
	all.Wait()
	cancel()
	killer.Wait()
}

// settle judges an answered hit and enters it.
func (f *firing) settle(h hit) {
	killed := f.killed.Load()
	h.after = killed != 0 && h.start.UnixNano() > killed
	if h.problem != "" && lostWith(h, killed) {
		h.lost = true
	}
	if h.after && h.answer.PID == f.Kill {
		h.problem = fmt.Sprintf("answered by process %d, which was dead before the hit began", f.Kill)
	}
	n := f.tally.enter(h)
	f.lines.hit(n, f.Hits, h)
}
