package main

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// natsQueue is NATS request and reply: nats-server embedded in a process of its
// own as the broker, a queue group as the pool, one connection of the client
// process and one of the worker's. The subscription passes each call to its
// session's goroutine, which responds.
type natsQueue struct{}

const (
	natsSubject = "bench.echo"
	natsGroup   = "workers"
	natsWait    = 60 * time.Second // until the server takes connections
)

func (natsQueue) Name() string { return "nats" }

func (natsQueue) Servers() []Server {
	return []Server{{"broker", natsServerRole}, {"worker", natsWorkerRole}}
}

func natsServerRole(ctx context.Context, p *Process) error {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(natsWait) {
		return errors.New("nats-server does not take connections")
	}
	p.Ready(s.ClientURL())
	<-ctx.Done()
	s.Shutdown()
	return ctx.Err()
}

// natsCall responds to one request; what fails there, the client misses.
type natsCall struct{ *nats.Msg }

func (c natsCall) answer(reply []byte) { _ = c.Respond(reply) }

func natsWorkerRole(ctx context.Context, p *Process) error {
	c, err := nats.Connect(p.At[0])
	if err != nil {
		return err
	}
	defer c.Close()
	sessions := newPinned(ctx, p.Sessions)
	failed := make(chan error, 1) // the first one ends the role
	_, err = c.QueueSubscribe(natsSubject, natsGroup, func(m *nats.Msg) {
		if err := sessions.give(m.Data, natsCall{m}); err != nil {
			select {
			case failed <- err:
			default:
			}
		}
	})
	if err != nil {
		return err
	}
	if err := c.FlushTimeout(natsWait); err != nil {
		return err
	}
	p.Ready("")
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Dial makes one connection for all callers.
func (natsQueue) Dial(_ context.Context, p *Process) ([]Caller, error) {
	c, err := nats.Connect(p.At[0])
	if err != nil {
		return nil, err
	}
	callers := make([]Caller, p.Sessions)
	for i := range callers {
		callers[i] = func(ctx context.Context, body []byte) ([]byte, error) {
			m, err := c.RequestWithContext(ctx, natsSubject, body)
			if err != nil {
				return nil, err
			}
			return m.Data, nil
		}
	}
	return callers, nil
}
