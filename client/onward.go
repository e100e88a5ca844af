package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// DefaultHops is how many steps a call goes on by itself on one path, where
// WithHops does not say otherwise.
const DefaultHops = 64

// pathsMost bounds the steps of one call on all its paths together, unless its
// hop limit is higher.
const pathsMost = 4096

// WithHops says how many steps a call may go on that its handlers name
// (worker.Next, worker.Fan), on one path; past it the call ends with ErrHops and
// names the path. Below 1 is none at all.
func WithHops(n int) CallOption { return CallOption{hops: max(n, 0) + 1} }

// StageError is how a call ends that had gone on from its first handler: which
// step failed, and what became of that. errors.Is matches the code of the step
// and, as everywhere, what became of the whole: a step that was not run is no
// ErrNotRun, for the steps before it were done; one of which nothing is known is
// ErrUnknown.
type StageError struct {
	Pool, Method string
	Branch       string          // the names of the branches that it is on, outermost first, by slashes
	Hop          int             // 1 for the first step that a handler went on with
	Path         string          // the steps that led there, the first ones and the last
	Outcome      session.Outcome // of this step alone
	Err          error
}

// Error names the step.
func (e *StageError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "step %d, %s.%s", e.Hop, e.Pool, e.Method)
	if e.Branch != "" {
		fmt.Fprintf(&b, " (branch %q)", e.Branch)
	}
	fmt.Fprintf(&b, ": %s", e.Err)
	if e.Outcome == session.NotRun {
		b.WriteString(" (this step was not run)")
	}
	return b.String()
}

// Unwrap is what the step ended with.
func (e *StageError) Unwrap() error { return e.Err }

// answer is what one step has ended with.
type answer struct {
	body []byte
	raw  bool
	next bool // the body is a wire.Next
}

// onward is how a call goes on where its handler says so. It is a call's own and
// does not change once the call is made.
type onward struct {
	client       *Client
	pool, method string                      // where the call began
	cfg          *openConfig                 // of its open, nil: it was made in a session
	hops         int                         // 0: DefaultHops; else the limit and one
	told         func(body []byte, raw bool) // progress of the steps, or nil
}

// walk is one call on its way.
type walk struct {
	onward
	ctx   context.Context
	most  int // steps on one path
	steps atomic.Int64
}

// follow goes on from the answer of a call until there is a result.
func (o *onward) follow(ctx context.Context, a answer) (answer, error) {
	w := &walk{onward: *o, ctx: ctx, most: DefaultHops}
	if o.hops > 0 {
		w.most = o.hops - 1
	}
	var t trail
	return w.follow(ctx, a, t.then(o.pool, o.method))
}

func (w *walk) follow(ctx context.Context, a answer, t trail) (answer, error) {
	for a.next {
		n, err := wire.ParseNext(a.body)
		if err != nil {
			return answer{}, &session.Error{Code: session.ErrBadMessage, Text: fmt.Sprintf("%s names no next step: %s", t.last(), err)}
		}
		switch {
		case n.Single():
			a, t, err = w.step(ctx, &n.Steps[0], t)
		default:
			a, err = w.fan(ctx, n.Steps, t)
			if err == nil && !n.Join.Zero() {
				a, t, err = w.step(ctx, &wire.NextStep{Pool: n.Join.Pool, Method: n.Join.Method, Args: a.body, Raw: a.raw}, t)
			}
		}
		if err != nil {
			return answer{}, err
		}
	}
	return a, nil
}

// step makes one step.
func (w *walk) step(ctx context.Context, s *wire.NextStep, t trail) (answer, trail, error) {
	t = t.then(s.Pool, s.Method)
	steps := w.steps.Add(1)
	if t.hop() > w.most || steps > int64(max(pathsMost, w.most)) {
		text := fmt.Sprintf("%d steps on one path, at most %d: %s", t.hop(), w.most, t)
		if t.hop() <= w.most {
			text = fmt.Sprintf("%d steps on all paths, at most %d; this one: %s", steps, max(pathsMost, w.most), t)
		}
		return answer{}, t, t.failed(s, infer(session.ErrHops, session.NotRun, text))
	}
	var cfg openConfig
	if w.cfg != nil {
		cfg = *w.cfg
	}
	cfg.wish.Pool, cfg.wish.Labels = s.Pool, nil
	cfg.wish.Priority -= t.hop() // those that have just begun go first; waiting raises everybody
	a, err := w.client.once(ctx, cfg, request{method: s.Method, args: s.Args, raw: s.Raw, told: w.told, hop: t.hop()})
	if err != nil {
		return answer{}, t, t.failed(s, err)
	}
	return a, t, nil
}

// branch is one of several ways at once.
type branch struct {
	name   string
	answer answer
	err    error
}

// fan goes all ways at once and puts the results together by name. The first
// branch that fails ends the others.
func (w *walk) fan(ctx context.Context, steps []wire.NextStep, t trail) (answer, error) {
	all := make([]branch, len(steps))
	err := together(ctx, len(steps), func(ctx context.Context, i int) error {
		b, s := &all[i], &steps[i]
		b.name = s.Name
		a, t, err := w.step(ctx, s, t.into(s.Name))
		if err == nil {
			a, err = w.follow(ctx, a, t)
		}
		b.answer, b.err = a, err
		return err
	})
	if err != nil {
		return answer{}, err
	}
	return joined(all)
}

// together runs n parts at once and waits for all. The first that fails ends the
// others and is the error; it is an unknown one if any part's end is.
func together(ctx context.Context, n int, part func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, n)
	var parts sync.WaitGroup
	var first error
	var once sync.Once
	for i := range n {
		parts.Go(func() {
			if errs[i] = part(ctx, i); errs[i] != nil {
				once.Do(func() { first = errs[i]; cancel() })
			}
		})
	}
	parts.Wait()
	if first == nil || errors.Is(first, session.Unknown) {
		return first
	}
	for _, err := range errs {
		if errors.Is(err, session.Unknown) {
			return &unknownToo{first, err}
		}
	}
	return first
}

// unknownToo is a failure beside another one of which nothing is known.
type unknownToo struct{ first, other error }

// Error tells both.
func (e *unknownToo) Error() string { return e.first.Error() + "; and beside it " + e.other.Error() }

// Unwrap gives both, the failure first.
func (e *unknownToo) Unwrap() []error { return []error{e.first, e.other} }

func infer(code session.Code, o session.Outcome, text string) *session.Error {
	return &session.Error{Code: code, Outcome: o, Text: text}
}

// trailEnds is how many steps are named at either end of a long path.
const trailEnds = 4

// trail is the way that a call has come. It is a value: branches have one each.
type trail struct {
	n      int
	head   [trailEnds]string
	tail   [trailEnds]string // a ring
	branch string
}

func (t trail) then(pool, method string) trail {
	if t.n < trailEnds {
		t.head[t.n] = pool + "." + method
	} else {
		t.tail[t.n%trailEnds] = pool + "." + method
	}
	t.n++
	return t
}

func (t trail) into(branch string) trail {
	if t.branch != "" {
		branch = t.branch + "/" + branch
	}
	t.branch = branch
	return t
}

// hop counts the steps from the first handler on.
func (t trail) hop() int { return t.n - 1 }

func (t trail) last() string {
	if t.n <= trailEnds {
		return t.head[t.n-1]
	}
	return t.tail[(t.n-1)%trailEnds]
}

// String is the path, with its middle left out where it is long.
func (t trail) String() string {
	names := append([]string(nil), t.head[:min(t.n, trailEnds)]...)
	if t.n > 2*trailEnds {
		names = append(names, "...")
	}
	for i := max(trailEnds, t.n-trailEnds); i < t.n; i++ {
		names = append(names, t.tail[i%trailEnds])
	}
	return strings.Join(names, " > ")
}

// failed names the step in its error. What was not run is, for the whole, done:
// its beginning was.
func (t trail) failed(s *wire.NextStep, err error) error {
	stage := &StageError{Pool: s.Pool, Method: s.Method, Branch: t.branch, Hop: t.hop(), Path: t.String(), Err: err}
	if e, ok := errors.AsType[*session.Error](err); ok {
		stage.Outcome = e.Outcome
		if e.Outcome == session.NotRun {
			whole := *e
			whole.Outcome = session.Done
			stage.Err = &whole
		}
	}
	return stage
}

// Pause between two tries of what may be had in a moment.
const (
	curePause     = 10 * time.Millisecond
	curePauseMost = 200 * time.Millisecond
)

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

// insist tries until the refusal is none that time cures, for as long as a
// worker is waited for.
func (c *Client) insist(ctx context.Context, cfg *openConfig, hop int, try func() error) error {
	wait := cfg.wish.Wait
	if wait <= 0 {
		wait = defaultWait
	}
	until := time.Now().Add(wait)
	if end, has := ctx.Deadline(); has && !end.After(until.Add(deadlineMargin)) {
		until = end.Add(deadlineMargin) // the wait was the context's: so is its end
	}
	var refusal error
	for pause := curePause; ; pause = min(2*pause, curePauseMost) {
		err := try()
		if refusal != nil && ctx.Err() != nil && errors.Is(err, session.NotRun) {
			return timeUp(ctx, refusal) // it ended while this was asked once more
		}
		refusal = err
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
	}
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

// deadlineMargin tells a wait that was taken from the context's deadline from one
// of its own.
const deadlineMargin = 100 * time.Millisecond

// defaultWait is how long a broker lets an open wait that does not say.
const defaultWait = 30 * time.Second

// Body is an argument or a result as it travels: bytes, where Raw is set, or one
// MessagePack value.
type Body = codec.Body
