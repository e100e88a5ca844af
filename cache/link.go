package cache

import (
	"context"
	"errors"
	"time"

	"github.com/limpet-rpc/limpet/client"
)

// link is a Cache's session with the host.
type link struct {
	// fixed after New
	client *client.Client
	pool   string
	labels map[string]string

	turn chan struct{} // held by whoever looks at what follows; none waits longer than its context

	session *client.Session // nil: none is open
	failed  error           // why the last open failed ...
	until   time.Time       // ... and until when nobody tries again
}

// call makes one call; anew, once, where the session was over and that does no
// harm: the operation did not run, or doing it twice is as doing it once.
func (l *link) call(ctx context.Context, method string, a *ask, r *answer) error {
	for again := false; ; again = true {
		s, err := l.open(ctx)
		if err != nil {
			return err
		}
		*r = answer{}
		if err = s.Call(ctx, method, a, r); err == nil || s.Err() == nil {
			return err
		}
		l.drop(ctx, s)
		harmless := method != methodSwap || errors.Is(err, client.ErrNotRun)
		if again || !harmless || ctx.Err() != nil {
			return err
		}
	}
}

// open returns the session, and opens it where there is none. Where there is no
// host, operations fail at once for a while instead of waiting one by one.
func (l *link) open(ctx context.Context) (*client.Session, error) {
	if err := l.lock(ctx); err != nil {
		return nil, err
	}
	defer l.unlock()
	switch {
	case l.session != nil:
		return l.session, nil
	case time.Now().Before(l.until):
		return nil, l.failed
	}
	s, err := l.client.Open(ctx, l.pool, client.WithLabels(l.labels), client.WithWait(openWait))
	if l.session = s; err != nil && ctx.Err() == nil {
		l.failed, l.until = err, time.Now().Add(openPause)
	}
	return s, err
}

// drop forgets a session that is over; where ctx ends first, the next one does.
func (l *link) drop(ctx context.Context, s *client.Session) {
	if l.lock(ctx) != nil {
		return
	}
	defer l.unlock()
	if l.session == s {
		l.session = nil
	}
}

func (l *link) close(ctx context.Context) error {
	if err := l.lock(ctx); err != nil {
		return err
	}
	defer l.unlock()
	s := l.session
	if l.session = nil; s == nil {
		return nil
	}
	return s.Close(ctx)
}

func (l *link) lock(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *link) unlock() { <-l.turn }
