package tests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/limpet-rpc/limpet/worker"
)

// here is where a call ran.
type here struct {
	Arg     int
	Session string
	PID     int
	Thread  int
}

// place is a pool whose method says where it ran.
func place(name string, slots int) *worker.Pool[int] {
	p := worker.NewPool(worker.Config[int]{
		Pool: name, Slots: slots, LockThread: true, CheckThread: true, Lease: long,
		Open: func(context.Context, *worker.Session) (int, error) { return worker.ThreadID(), nil },
	})
	worker.Handle(p, "where", func(ctx context.Context, opened, arg int) (here, error) {
		if opened != worker.ThreadID() {
			return here{}, fmt.Errorf("opened on thread %d, called on %d", opened, worker.ThreadID())
		}
		return here{arg, worker.SessionFrom(ctx).ID().String(), os.Getpid(), worker.ThreadID()}, nil
	})
	return p
}

// tally is a pool whose sessions count, with everything that tests want to see
// of its worker side.
type tally struct {
	pool   *worker.Pool[*counted]
	ran    atomic.Int64    // methods begun, in all sessions
	opens  atomic.Int64    // Open begun
	closes chan error      // why, one for every Close
	began  chan string     // blocking calls that have begun, by the name they were given
	ended  chan error      // why the context of a blocking call ended
	gates  chan chan error // what lets a "wait" go: its own channel, in the order of their beginnings
}

// counted is the state of one of its sessions.
type counted struct {
	id     string
	thread int
	n      int
}

// newTally makes the pool; change may alter its configuration.
func newTally(name string, slots int, change ...func(*worker.Config[*counted])) *tally {
	y := &tally{closes: make(chan error, 10_000), began: make(chan string, 1000), ended: make(chan error, 1000), gates: make(chan chan error, 1000)}
	config := worker.Config[*counted]{
		Pool: name, Slots: slots, Lease: long,
		Open: func(_ context.Context, s *worker.Session) (*counted, error) {
			y.opens.Add(1)
			return &counted{id: s.ID().String(), thread: worker.ThreadID()}, nil
		},
		Close: func(_ *counted, why error) { y.closes <- why },
	}
	for _, c := range change {
		c(&config)
	}
	y.pool = worker.NewPool(config)
	y.handle()
	return y
}

func (y *tally) handle() {
	worker.Handle(y.pool, "add", func(ctx context.Context, c *counted, by int) (int, error) {
		y.ran.Add(1)
		if id := worker.SessionFrom(ctx).ID().String(); id != c.id {
			return 0, fmt.Errorf("state of session %s given to a call of %s", c.id, id)
		}
		c.n += by
		return c.n, nil
	})
	worker.Handle(y.pool, "block", func(ctx context.Context, _ *counted, name string) (int, error) {
		y.ran.Add(1)
		y.began <- name
		<-ctx.Done()
		y.ended <- ctx.Err()
		return 0, ctx.Err()
	})
	worker.Handle(y.pool, "wait", func(_ context.Context, c *counted, by int) (int, error) {
		y.ran.Add(1)
		gate := make(chan error)
		y.gates <- gate
		err := <-gate
		c.n += by
		return c.n, err
	})
	worker.Handle(y.pool, "fail", func(_ context.Context, _ *counted, text string) (int, error) {
		y.ran.Add(1)
		return 0, errors.New(text)
	})
	worker.Handle(y.pool, "explode", func(_ context.Context, c *counted, text string) (int, error) {
		y.ran.Add(1)
		return c.explode(text), nil
	})
	worker.Handle(y.pool, "thread", func(_ context.Context, c *counted, _ any) (int, error) {
		y.ran.Add(1)
		return c.thread, nil
	})
	worker.Handle(y.pool, "echo", func(_ context.Context, _ *counted, body []byte) ([]byte, error) {
		y.ran.Add(1)
		return body, nil
	})
	worker.Handle(y.pool, "big", func(_ context.Context, _ *counted, size int) ([]byte, error) {
		y.ran.Add(1)
		return make([]byte, size), nil
	})
}

// explode is where "explode" panics; the stack names it.
func (c *counted) explode(text string) int { panic(text) }
