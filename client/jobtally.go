package client

import (
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// JobTally counts a job while it runs. Its zero value is ready; it may be read
// by any goroutine, and belongs to one job.
type JobTally struct {
	mu    sync.Mutex
	began time.Time
	over  time.Time // zero: it runs
	total int
	now   JobCounts
}

// JobCounts is how far a job has come.
type JobCounts struct {
	Taken   int // items, from the sequence
	Made    int // calls to be made: as many, or what scatter made of them
	Done    int // calls that gave a result
	Failed  int // that ended with an error of their own
	NotRun  int // that certainly did not run, retries included
	Unknown int // of which nobody can know
	Retried int // tries beyond the first
	Dropped int // results for which gather yielded nothing

	Elapsed time.Duration // until its end
	Rate    float64       // calls that have ended, a second
	Left    time.Duration // at that rate; 0 where JobTotal is not given or nothing has ended
}

// Ended is how many calls are over, however they ended.
func (c JobCounts) Ended() int { return c.Done + c.Failed + c.NotRun + c.Unknown }

// Counts is how far the job has come by now.
func (t *JobTally) Counts() JobCounts {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.now
	if t.began.IsZero() {
		return c
	}
	if c.Elapsed = t.over.Sub(t.began); t.over.IsZero() {
		c.Elapsed = time.Since(t.began)
	}
	ended := float64(c.Ended())
	if c.Rate = ended / max(c.Elapsed, 1).Seconds(); ended == 0 || t.total == 0 {
		return c
	}
	all := float64(t.total) * float64(c.Made) / float64(max(1, c.Taken))
	c.Left = time.Duration(max(0, all-ended) / c.Rate * float64(time.Second))
	return c
}

func (t *JobTally) begin(total int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.began, t.over, t.total, t.now = time.Now(), time.Time{}, total, JobCounts{}
}

func (t *JobTally) finish() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = time.Now()
}

func (t *JobTally) count(f func(c *JobCounts)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f(&t.now)
}

func (t *JobTally) took() { t.count(func(c *JobCounts) { c.Taken++ }) }

func (t *JobTally) made() { t.count(func(c *JobCounts) { c.Made++ }) }

func (t *JobTally) retry() { t.count(func(c *JobCounts) { c.Retried++ }) }

func (t *JobTally) drop() { t.count(func(c *JobCounts) { c.Dropped++ }) }

func (t *JobTally) end(err error) {
	t.count(func(c *JobCounts) {
		switch {
		case err == nil:
			c.Done++
		case outcomeOf(err) == session.NotRun:
			c.NotRun++
		case outcomeOf(err) == session.Unknown:
			c.Unknown++
		default:
			c.Failed++
		}
	})
}
