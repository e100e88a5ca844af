package main

import (
	"context"
	"errors"
	"fmt"
	"sync"

	zmq "github.com/pebbe/zmq4"
)

// naive is the baseline: what a Go programmer gets who follows the ZeroMQ Guide
// (the load-balancing broker of chapter 3, with the DEALER worker of chapter 4)
// and adds a table that pins each client to a worker.
//
//   - The broker is one goroutine with a ROUTER for clients and one for workers,
//     a Poller over both, one RecvMessage and one SendMessage for each message.
//   - Each worker is a goroutine with a DEALER of its own, which announces itself
//     with READY and then receives and answers in turn.
//   - Each caller has a DEALER of its own: sockets must not be shared by threads,
//     and the Guide's client is one socket that sends and waits.
//   - Frames are the Guide's: addresses and empty delimiters, a command, a body.
//
// No message is batched or coalesced with another, and the body is the only
// thing that is encoded. It keeps none of Limpet's promises: no numbers, epochs,
// budgets, leases or beats, and no answer when a peer is gone.
type naive struct{}

// Commands of the naive protocol.
const (
	naiveReady = "READY"
	naiveOpen  = "OPEN"
	naiveCall  = "CALL"
)

// naiveLinger in milliseconds; the processes end at once.
const naiveLinger = 0

func (naive) Name() string { return "naive" }

func (naive) Servers() []Server {
	return []Server{{"broker", naiveBrokerRole}, {"worker", naiveWorkersRole}}
}

// naiveBroker is owned by the one goroutine that runs it.
type naiveBroker struct {
	clients, workers *zmq.Socket
	free             []string          // workers that no client is pinned to
	waiting          []string          // clients that opened and have no worker yet
	pinned           map[string]string // client to worker
}

// naiveBrokerRole leaves its broker to the end of the process: its Poll has no
// other end.
func naiveBrokerRole(ctx context.Context, p *Process) error {
	failed := make(chan error, 1)
	go func() { failed <- naiveBroke(p) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// naiveBroke forwards until a socket fails.
func naiveBroke(p *Process) error {
	if err := zmq.SetMaxSockets(8); err != nil {
		return err
	}
	b := &naiveBroker{pinned: map[string]string{}}
	var err error
	var at [2]string
	if b.clients, at[0], err = naiveRouter(); err != nil {
		return err
	}
	if b.workers, at[1], err = naiveRouter(); err != nil {
		return err
	}
	poller := zmq.NewPoller()
	poller.Add(b.clients, zmq.POLLIN)
	poller.Add(b.workers, zmq.POLLIN)
	p.Ready(at[0] + " " + at[1])
	for {
		polled, err := poller.Poll(-1)
		if err != nil {
			return fmt.Errorf("poll: %w", err)
		}
		for _, ready := range polled {
			msg, err := ready.Socket.RecvMessage(0)
			if err != nil {
				return fmt.Errorf("receive: %w", err)
			}
			if ready.Socket == b.clients {
				err = b.fromClient(msg)
			} else {
				err = b.fromWorker(msg)
			}
			if err != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
	}
}

func naiveRouter() (s *zmq.Socket, endpoint string, err error) {
	if s, err = zmq.NewSocket(zmq.ROUTER); err != nil {
		return nil, "", err
	}
	if err = s.SetLinger(naiveLinger); err != nil {
		return nil, "", err
	}
	if err = s.Bind("tcp://127.0.0.1:*"); err != nil {
		return nil, "", err
	}
	endpoint, err = s.GetLastEndpoint()
	return s, endpoint, err
}

// fromClient takes [client, "", command, body].
func (b *naiveBroker) fromClient(msg []string) error {
	if len(msg) != 4 {
		return nil // not one of ours
	}
	client, command, body := msg[0], msg[2], msg[3]
	switch command {
	case naiveOpen:
		b.waiting = append(b.waiting, client)
		return b.pin()
	case naiveCall:
		if worker, ok := b.pinned[client]; ok {
			_, err := b.workers.SendMessage(worker, "", client, "", naiveCall, body)
			return err
		}
	}
	return nil
}

// fromWorker takes [worker, "", READY] and [worker, "", client, "", body].
func (b *naiveBroker) fromWorker(msg []string) error {
	switch {
	case len(msg) == 3 && msg[2] == naiveReady:
		b.free = append(b.free, msg[0])
		return b.pin()
	case len(msg) == 5:
		_, err := b.clients.SendMessage(msg[2], "", naiveCall, msg[4])
		return err
	}
	return nil
}

// pin gives free workers to waiting clients, in the order of both.
func (b *naiveBroker) pin() error {
	for len(b.free) > 0 && len(b.waiting) > 0 {
		client := b.waiting[0]
		b.pinned[client] = b.free[0]
		b.free, b.waiting = b.free[1:], b.waiting[1:]
		if _, err := b.clients.SendMessage(client, "", naiveOpen, ""); err != nil {
			return err
		}
	}
	return nil
}

// naiveDealers makes n DEALER sockets connected to endpoint.
func naiveDealers(n int, endpoint string) ([]*zmq.Socket, error) {
	if err := zmq.SetMaxSockets(n + 8); err != nil {
		return nil, err
	}
	sockets := make([]*zmq.Socket, n)
	for i := range sockets {
		s, err := zmq.NewSocket(zmq.DEALER)
		if err != nil {
			return nil, fmt.Errorf("socket %d of %d: %w", i, n, err)
		}
		if err := s.SetLinger(naiveLinger); err != nil {
			return nil, err
		}
		if err := s.Connect(endpoint); err != nil {
			return nil, fmt.Errorf("connect to %s: %w", endpoint, err)
		}
		sockets[i] = s
	}
	return sockets, nil
}

// naiveEndpoints are the broker's for clients and for workers.
func naiveEndpoints(p *Process) (clients, workers string, err error) {
	if len(p.At) == 0 {
		return "", "", errors.New("no broker to connect to")
	}
	if _, err := fmt.Sscan(p.At[0], &clients, &workers); err != nil {
		return "", "", fmt.Errorf("read endpoints %q: %w", p.At[0], err)
	}
	return clients, workers, nil
}

// naiveWorkersRole runs a worker for each session, until the process ends.
func naiveWorkersRole(ctx context.Context, p *Process) error {
	_, at, err := naiveEndpoints(p)
	if err != nil {
		return err
	}
	sockets, err := naiveDealers(p.Sessions, at)
	if err != nil {
		return err
	}
	failed := make(chan error, len(sockets)) // holds every worker's end
	for _, s := range sockets {
		go func() { failed <- naiveWork(s) }()
	}
	p.Ready("")
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// naiveWork echoes until the socket fails.
func naiveWork(s *zmq.Socket) error {
	if _, err := s.SendMessage("", naiveReady); err != nil {
		return err
	}
	for {
		msg, err := s.RecvMessage(0) // "", client, "", command, body
		if err != nil {
			return err
		}
		if len(msg) != 5 {
			return fmt.Errorf("a call of %d frames", len(msg))
		}
		if _, err := s.SendMessage("", msg[1], "", msg[4]); err != nil {
			return err
		}
	}
}

// Dial connects a socket for each caller and waits until each is pinned.
func (naive) Dial(_ context.Context, p *Process) ([]Caller, error) {
	at, _, err := naiveEndpoints(p)
	if err != nil {
		return nil, err
	}
	sockets, err := naiveDealers(p.Sessions, at)
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(sockets))
	var opening sync.WaitGroup
	for i, s := range sockets {
		opening.Go(func() { _, errs[i] = naiveAsk(s, naiveOpen, "") })
	}
	opening.Wait()
	callers := make([]Caller, len(sockets))
	for i, s := range sockets {
		callers[i] = func(_ context.Context, body []byte) ([]byte, error) {
			reply, err := naiveAsk(s, naiveCall, string(body))
			return []byte(reply), err
		}
	}
	return callers, errors.Join(errs...)
}

// naiveAsk sends one message and blocks for its answer.
func naiveAsk(s *zmq.Socket, command, body string) (string, error) {
	if _, err := s.SendMessage("", command, body); err != nil {
		return "", err
	}
	msg, err := s.RecvMessage(0)
	if err != nil {
		return "", err
	}
	if len(msg) != 3 || msg[1] != command {
		return "", fmt.Errorf("answer %q to %s", msg, command)
	}
	return msg[2], nil
}
