package client

import (
	"errors"
	"fmt"
	"strings"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

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
