package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/session"
)

// What a job does where nobody says otherwise.
const (
	jobWindow  = 256       // a quarter of a broker's queue
	jobRetries = 10        // 16 s and more of back-off
	jobWait    = time.Hour // for a worker, the most that a broker allows

	pauseFirst = 50 * time.Millisecond
	pauseMost  = 5 * time.Second
)

// JobItem is how one item of a job has ended.
type JobItem[A, R any] struct {
	Index  int   // of the item in the job's sequence, from 0; -1: added by the end hook
	Part   int   // which of those that the scatter hook made of it, from 0
	Arg    A     // the item, as the sequence had it
	Result R     // where Err is nil
	Err    error // a *session.Error within, as Do returns it
}

// Outcome is what is known of the item's call: it was done, also where it
// ended with an error of its own; it was not run; or nobody can know.
func (i *JobItem[A, R]) Outcome() session.Outcome { return outcomeOf(i.Err) }

func outcomeOf(err error) session.Outcome {
	if e, ok := errors.AsType[*session.Error](err); ok {
		return e.Outcome
	}
	return session.Done
}

// Job runs a method once for every item of seq, each as a session of its own
// (see Do), and yields every end as it comes: a result or an error, one for each
// item, and none is lost silently. What certainly did not run is tried again;
// what may have run never is, and ends as ErrUnknown. A mistake in the item or
// the call (ErrBadArgument, ErrMethodUnknown, ErrPoolUnknown) is not tried again
// either.
//
// A job has at most a window of items (JobWindow, 256) that were taken from seq
// and not yet handed out: a reader that stops reading stops the job. One that
// leaves the loop ends it: what runs is cancelled, and the loop ends once that is
// settled and seq has returned. Where ctx ends nothing more is taken from seq,
// and what was taken ends as ErrCancelled or ErrDeadline.
//
// Nothing happens before the loop, and each loop is a run of its own. Seq runs
// on a goroutine of its own, and where it panics, so does the loop: one that can
// wait for ever must watch ctx.
//
// # Why not long sessions
//
// Items could share a few sessions, one for each slot of the pool, with many
// calls in flight in each. That gives 98,000 to 144,000 empty items/s where
// sessions of one call give 26,000 to 40,000 (2 cores, all in one process). But a
// slow item would hold up those behind it while other workers are idle, the job
// would keep its workers from everybody else until it ends, an item would find
// what the one before it left behind, and the broker's placement policy would
// count sessions instead of items. An item that takes a tenth of a millisecond
// does not notice the difference.
func Job[R, A any](ctx context.Context, c *Client, pool, method string, seq iter.Seq[A], opts ...JobOption) iter.Seq[JobItem[A, R]] {
	j := newJob(c, stage{pool, method}, opts)
	return func(yield func(JobItem[A, R]) bool) {
		j.run(ctx, boxed(seq), func(u *unit) bool {
			item := JobItem[A, R]{Index: u.index, Part: u.part, Err: u.err}
			item.Arg, _ = u.arg.(A)
			if u.err == nil {
				item.Err = u.decode(&item.Result)
			}
			return yield(item)
		})
	}
}

func boxed[A any](seq iter.Seq[A]) iter.Seq[any] {
	return func(yield func(any) bool) {
		for a := range seq {
			if !yield(a) {
				return
			}
		}
	}
}

// stage is a method that a job's items go through.
type stage struct{ pool, method string }

// job is what a job was asked for; its runs share it.
type job struct {
	client  *Client
	stages  []stage
	window  int
	retries int
	ordered bool
	hooked  bool
	total   int           // items, 0: not known
	limit   time.Duration // of an item in a stage, 0: none
	each    []OpenOption
	patient []OpenOption // each, and the wait of one without a deadline
	tally   *JobTally
}

// unit is one call's worth of a job: an item, or a part that scatter made of it.
type unit struct {
	index, part int
	number      int // in the order of dispatch
	arg         any // the item
	send        any // what the first stage gets
	reply       codec.Body
	err         error
}

func (u *unit) decode(result any) error {
	if err := codec.Decode(u.reply.Bytes, u.reply.Raw, result); err != nil {
		return &session.Error{Code: session.ErrBadMessage, Text: fmt.Sprintf("the call was done, its reply does not decode into %T: %s", result, err)}
	}
	return nil
}

// run is one loop over a job, on the reader's goroutine.
func (j *job) run(ctx context.Context, seq iter.Seq[any], yield func(*unit) bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &jobRun{job: j, ctx: ctx, room: make(chan struct{}, j.window), ended: make(chan *unit, j.window+1)}
	if j.hooked {
		r.hooks = openHooks(ctx, j)
		defer r.hooks.close(ctx)
	}
	j.tally.begin(j.total)
	defer j.tally.finish()
	go r.feed(seq)
	defer func() {
		cancel()
		for range r.ended { // until feed and its calls have returned
		}
		if r.panicked != nil {
			panic(r.panicked)
		}
	}()
	r.handOut(yield)
}

// jobRun is one run of a job. Feed and its calls are one owner's goroutines:
// they have all returned when ended is closed.
type jobRun struct {
	*job

	ctx   context.Context //nolint:containedctx // the run's own
	room  chan struct{}   // one for every unit between seq and the reader
	ended chan *unit      // has room for the whole window, and one that found none
	calls sync.WaitGroup
	hooks *jobHooks // nil: none

	number   int // of units; owned by feed
	panicked any // what seq panicked with; owned by feed until ended is closed
}

// feed takes items from seq while there is room for them.
func (r *jobRun) feed(seq iter.Seq[any]) {
	defer close(r.ended)
	defer r.calls.Wait()
	defer func() { r.panicked = recover() }() // the reader's goroutine goes on with it
	if r.ctx.Err() != nil {
		return
	}
	index := 0
	for arg := range seq {
		r.tally.took()
		goOn := r.hooks == nil && r.dispatch(&unit{index: index, arg: arg, send: arg}) ||
			r.hooks != nil && r.hooks.scatter(r, index, arg)
		if !goOn || r.ctx.Err() != nil { // a dispatch that found room does not look
			return
		}
		index++
	}
}

// dispatch runs a unit beside the others. It blocks while the window is full;
// false where the run has ended.
func (r *jobRun) dispatch(u *unit) bool {
	u.number = r.number
	r.number++
	r.tally.made()
	select {
	case r.room <- struct{}{}:
	case <-r.ctx.Done():
		u.err = fmt.Errorf("item %d: %w", u.index, gaveUp(r.ctx.Err()))
		r.tally.end(u.err)
		r.ended <- u
		return false
	}
	if u.err != nil { // it has ended before it began
		r.tally.end(u.err)
		r.ended <- u
		return true
	}
	r.calls.Go(func() {
		r.work(u)
		r.tally.end(u.err)
		r.ended <- u
	})
	return true
}

// work takes a unit through all stages, or to the first error.
func (r *jobRun) work(u *unit) {
	send := u.send
	for _, st := range r.stages {
		reply, err := r.do(st, send)
		if err != nil {
			u.err = fmt.Errorf("item %d: do %s in pool %q: %w", u.index, st.method, st.pool, err)
			return
		}
		send, u.reply = reply, reply
	}
}

// do makes one call, and again while it certainly did not run.
func (r *jobRun) do(st stage, send any) (reply codec.Body, err error) {
	ctx := r.ctx
	if r.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.limit)
		defer cancel()
	}
	pause := backoff.ExponentialBackOff{InitialInterval: pauseFirst, Multiplier: 2, RandomizationFactor: 0.5, MaxInterval: pauseMost}
	for refused := 0; ; {
		if err = r.client.do(ctx, st.pool, st.method, send, &reply, r.opts(ctx)); err == nil || !again(err) {
			return reply, err
		}
		if session.CodeOf(err) != session.ErrOverloaded {
			refused++
		}
		if refused > r.retries {
			return reply, err
		}
		r.tally.retry()
		if !sleep(ctx, pause.NextBackOff()) {
			return reply, timeUp(ctx, err)
		}
	}
}

// opts has a call wait for a worker as long as it may.
func (r *jobRun) opts(ctx context.Context) []OpenOption {
	if _, has := ctx.Deadline(); has {
		return r.each
	}
	return r.patient
}

// again reports that a call may be tried once more: it certainly did not run,
// and that was neither its own mistake nor its caller's wish.
func again(err error) bool {
	if !errors.Is(err, session.NotRun) {
		return false
	}
	switch code := session.CodeOf(err); code {
	case session.ErrDeadline, session.ErrCancelled, session.ErrClientDone:
		return false
	default:
		return code >= session.ErrSessionUnknown // below are the sender's mistakes
	}
}

// sleep is false where ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	over := time.NewTimer(d)
	defer over.Stop()
	select {
	case <-over.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// handOut yields units as they end, or in the order of their dispatch, until
// the last one or until nobody wants more.
func (r *jobRun) handOut(yield func(*unit) bool) {
	l := line{ordered: r.ordered, early: map[int]*unit{}}
	var ready []*unit
	for u := range r.ended {
		ready = l.add(ready[:0], u)
		if r.hooks == nil {
			if !r.give(ready, yield) {
				return
			}
			continue
		}
		ready = l.more(ready, r.ended, gatherMost)
		if !r.hooks.gather(r, ready, yield) {
			return
		}
	}
	if r.hooks != nil && r.ctx.Err() == nil && r.hooks.err == nil {
		r.hooks.end(r, yield)
	}
}

func (r *jobRun) give(ready []*unit, yield func(*unit) bool) bool {
	for _, u := range ready {
		r.free(1)
		if !yield(u) {
			return false
		}
	}
	return true
}

// free makes room for other units.
func (r *jobRun) free(units int) {
	for range units {
		select {
		case <-r.room:
		default: // the one that found no room
		}
	}
}

// line puts units in the order in which they are handed out.
type line struct {
	ordered bool
	early   map[int]*unit // at most a window of them
	next    int
}

// add appends to ready what may go now that u has ended.
func (l *line) add(ready []*unit, u *unit) []*unit {
	if !l.ordered {
		return append(ready, u)
	}
	l.early[u.number] = u
	for ; l.early[l.next] != nil; l.next++ {
		ready = append(ready, l.early[l.next])
		delete(l.early, l.next)
	}
	return ready
}

// more adds those that have ended meanwhile, while there are fewer than most.
func (l *line) more(ready []*unit, ended <-chan *unit, most int) []*unit {
	for len(ready) < most {
		select {
		case u, ok := <-ended:
			if !ok {
				return ready
			}
			ready = l.add(ready, u)
		default:
			return ready
		}
	}
	return ready
}
