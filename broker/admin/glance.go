package admin

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/broker/core"
)

// share is which part of the time looking may take: after a look that took d,
// the next one is not before share*d, up to freshMost.
const (
	share     = 10
	freshMost = time.Second
)

// asking is one of a broker's own ways to be asked.
type asking func(ctx context.Context) (core.Status, error)

// glance looks at a broker for any number of askers. At most one look is under
// way at a time; who comes meanwhile gets what it brings.
type glance struct {
	ask asking

	mu   sync.Mutex
	last *look
}

// look is one answer, on its way until done is closed.
type look struct {
	done  chan struct{}
	taken time.Time     // when it was done
	took  time.Duration // how long the loop took to come round
	st    core.Status
	err   error
}

// at returns an answer that was under way or younger than its share when it
// was asked for. It blocks until there is one, or until bound is over or ctx
// ends; then the error says that the loop does not come round.
func (g *glance) at(ctx context.Context, bound time.Duration) (*look, error) {
	l := g.current() //nolint:contextcheck // a look is shared: it does not end with the one who asked first
	patience := time.NewTimer(bound)
	defer patience.Stop()
	select {
	case <-l.done:
		return l, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-patience.C:
		return nil, fmt.Errorf("the broker's loop has not come round for %s", bound)
	}
}

func (g *glance) current() *look {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.last; l != nil && !l.old(time.Now()) {
		return l
	}
	l := &look{done: make(chan struct{})}
	g.last = l
	go l.take(g.ask)
	return l
}

// old reports that a look is over and not worth showing again.
func (l *look) old(now time.Time) bool {
	select {
	case <-l.done:
		return l.err != nil || now.Sub(l.taken) >= min(share*l.took, freshMost)
	default:
		return false
	}
}

// take looks. It has no deadline: a loop that stands is asked once, not again
// and again. It ends when the loop comes round or the broker stops.
func (l *look) take(ask asking) {
	defer close(l.done)
	began := time.Now()
	l.st, l.err = ask(context.Background())
	l.taken = time.Now()
	l.took = l.taken.Sub(began)
}
