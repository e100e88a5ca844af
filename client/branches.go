package client

import (
	"context"
	"errors"
	"sync"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

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
