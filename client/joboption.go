package client

import "time"

// JobOption says more about a job.
type JobOption func(*job)

// JobWindow bounds the items that were taken from the sequence and not yet
// handed out; default 256, at least 1. As many run at once as the pool has
// workers for, the others wait in its queue. Where a broker is lost, those in its
// queue end as ErrUnknown: each has its call along, and nobody else knows of it.
func JobWindow(n int) JobOption { return func(j *job) { j.window = max(1, n) } }

// JobOrdered has the ends yielded in the order of the items. One that takes long
// holds up the others, once the window is full of them.
func JobOrdered() JobOption { return func(j *job) { j.ordered = true } }

// JobRetries is how often an item that certainly did not run is tried again;
// default 10, with pauses from 50 ms to 5 s. What a full queue refuses is not
// counted: that is tried for as long as the job's context lasts.
func JobRetries(n int) JobOption { return func(j *job) { j.retries = max(0, n) } }

// JobLimit bounds the time of an item in each stage, with the wait for a worker
// and the retries; past it, it ends as ErrDeadline.
func JobLimit(d time.Duration) JobOption { return func(j *job) { j.limit = d } }

// JobOpen says more about the session that each item asks for, and about its
// call (WithCall), not about that of the hooks. Without WithWait an item waits an
// hour for a worker, or for as long as its context lasts.
func JobOpen(opts ...OpenOption) JobOption {
	return func(j *job) { j.each = append(j.each, opts...) }
}

// JobThen sends the result of each item on as the argument of a method of
// another pool, or of the same; several make a chain. Each stage runs once for
// each item, is tried again by itself, and an error ends its item there. The job
// yields the last one's results.
func JobThen(pool, method string) JobOption {
	return func(j *job) { j.stages = append(j.stages, stage{pool, method}) }
}

// JobTotal says how many items the sequence has, for JobCounts.Left.
func JobTotal(n int) JobOption { return func(j *job) { j.total = n } }

// JobCount has the job counted by t.
func JobCount(t *JobTally) JobOption { return func(j *job) { j.tally = t } }

// JobHooks has the job's items go through the hooks of its (first) pool: see
// worker.Hooks. Scatter makes any number of parts of an item, Gather sees each
// result and yields any number in its place, in calls of a session that belongs
// to the job; its state is the job's. Ends that are errors do not go through
// Gather: no hook can hide them.
//
// Where that session is lost, all its state is: every item that was not yet
// scattered ends as not run, every result that was not yet gathered as ErrUnknown
// (its method has run, what it gave is lost), both with the code of the loss:
// ErrWorkerLost, ErrWorkerPanic and so on. A mistake that a hook returns is the
// end of that one item, as ErrMethod.
func JobHooks() JobOption { return func(j *job) { j.hooked = true } }

func newJob(c *Client, first stage, opts []JobOption) *job {
	j := &job{client: c, stages: []stage{first}, window: jobWindow, retries: jobRetries}
	for _, o := range opts {
		o(j)
	}
	if j.tally == nil {
		j.tally = new(JobTally)
	}
	j.patient = append([]OpenOption{WithWait(jobWait)}, j.each...)
	return j
}
