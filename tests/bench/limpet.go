package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// limpetRelayed is Limpet through its broker: one connection of the client
// process, a session for each caller, a slot for each session.
type limpetRelayed struct{}

const (
	limpetPool = "bench"
	openers    = 64               // sessions opened at a time
	nodeWait   = 60 * time.Second // until the node has registered its pool
	slotWait   = 5 * time.Minute  // in the broker's queue
)

func (limpetRelayed) Name() string { return "limpet-relayed" }

func (limpetRelayed) Servers() []Server {
	return []Server{{"broker", limpetBrokerRole}, {"node", limpetNodeRole}}
}

func limpetBrokerRole(ctx context.Context, p *Process) error {
	s, err := broker.New(broker.Options{Listen: "tcp://127.0.0.1:0"})
	if err != nil {
		return err
	}
	p.Ready(s.Endpoint())
	return s.Run(ctx)
}

// limpetNode is what the node process counts for the questions of its starter.
type limpetNode struct {
	held atomic.Int64 // calls of "hold" that run

	mu     sync.Mutex
	closes []time.Duration // when each session's Close ran, by sharedClock
}

// limpetLocked is limpetRelayed with every session locked to an OS thread of its
// own, and so many processors of the runtime that these wait at bells.
type limpetLocked struct{ limpetRelayed }

func (limpetLocked) Name() string { return "limpet-relayed-locked" }

func (limpetLocked) Servers() []Server {
	return []Server{{"broker", limpetBrokerRole}, {"node", func(ctx context.Context, p *Process) error {
		runtime.GOMAXPROCS(min(p.Sessions, 64) + 4) // as docs/operations.md has it
		return serveLimpet(ctx, p, worker.Config[struct{}]{LockThread: true})
	}}}
}

// limpetNodeRole serves the pool of every measurement.
func limpetNodeRole(ctx context.Context, p *Process) error {
	return serveLimpet(ctx, p, worker.Config[struct{}]{})
}

// serveLimpet is ready before the broker knows it; openSession waits for that.
func serveLimpet(ctx context.Context, p *Process, c worker.Config[struct{}]) error {
	n := &limpetNode{}
	c.Pool, c.Slots, c.Close = limpetPool, p.Sessions, n.closed
	pool := worker.NewPool(c)
	worker.Handle(pool, "echo", echo)
	worker.Handle(pool, "keep", func(_ context.Context, _ struct{}, body []byte) ([]byte, error) { return body, nil })
	worker.Handle(pool, "work", work)
	worker.Handle(pool, "hold", n.hold)
	p.Answer("running", func(json.RawMessage) (any, error) { return n.held.Load(), nil })
	p.Answer("closes", func(json.RawMessage) (any, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		return append([]time.Duration(nil), n.closes...), nil
	})
	p.Ready("")
	return worker.Serve(ctx, worker.Options{Broker: strings.Join(p.At, ","), Name: "bench", Beat: p.Beat, Misses: p.Misses}, pool)
}

func (n *limpetNode) closed(struct{}, error) {
	now := sharedClock()
	n.mu.Lock()
	n.closes = append(n.closes, now)
	n.mu.Unlock()
}

func echo(_ context.Context, _ struct{}, body worker.Lent) (worker.Lent, error) { return body, nil }

// work takes milliseconds and returns them.
func work(ctx context.Context, _ struct{}, ms int64) (int64, error) {
	return ms, sleep(ctx, time.Duration(ms)*time.Millisecond)
}

// hold runs until its caller gives up or its process ends.
func (n *limpetNode) hold(ctx context.Context, _ struct{}, _ int64) (int64, error) {
	n.held.Add(1)
	defer n.held.Add(-1)
	<-ctx.Done()
	return 0, context.Cause(ctx)
}

// Dial opens a session for each caller.
func (limpetRelayed) Dial(ctx context.Context, p *Process) ([]Caller, error) {
	return limpetCallers(ctx, p, client.WithRelayOnly())
}

func limpetCallers(ctx context.Context, p *Process, opts ...client.Option) ([]Caller, error) {
	return limpetCallersAt(ctx, p.At[0], p.Sessions, opts...)
}

// limpetCallersAt makes n callers of one client of one broker.
func limpetCallersAt(ctx context.Context, broker string, n int, opts ...client.Option) ([]Caller, error) {
	c, err := client.Dial(ctx, broker, opts...)
	if err != nil {
		return nil, err
	}
	sessions, err := openSessions(ctx, c, n)
	if err != nil {
		return nil, err
	}
	callers := make([]Caller, len(sessions))
	for i, s := range sessions {
		var reply []byte // its calls are one after another
		callers[i] = func(ctx context.Context, body []byte) (_ []byte, err error) {
			reply, err = s.AppendCall(ctx, reply[:0], "echo", body)
			return reply, err
		}
	}
	return callers, nil
}

// openSessions opens n sessions, openers at a time.
func openSessions(ctx context.Context, c *client.Client, n int) ([]*client.Session, error) {
	sessions, errs := make([]*client.Session, n), make([]error, openers)
	var next atomic.Int64
	var opening sync.WaitGroup
	for o := range openers {
		opening.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && errs[o] == nil; i = int(next.Add(1)) - 1 {
				sessions[i], errs[o] = openSession(ctx, c)
			}
		})
	}
	opening.Wait()
	return sessions, errors.Join(errs...)
}

// openSession opens one session; while the broker does not know the pool yet, it
// asks again.
func openSession(ctx context.Context, c *client.Client, opts ...client.OpenOption) (*client.Session, error) {
	late := time.Now().Add(nodeWait)
	for {
		s, err := c.Open(ctx, limpetPool, append(opts, client.WithWait(slotWait))...)
		if err == nil || !errors.Is(err, session.ErrPoolUnknown) || time.Now().After(late) {
			return s, err
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return nil, fmt.Errorf("wait for the node: %w", err)
		}
	}
}
