package main

import (
	"context"
	"errors"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmqio"
)

// zmqEcho is a bare echo over internal/zmqio, client to worker: what is left of
// Limpet without its promises. There are no numbers, retries, leases, beats or
// budgets, only the transport and a goroutine for each session.
type zmqEcho struct{}

const zmqEchoTick = 20 * time.Millisecond // as the client's

func (zmqEcho) Name() string { return "zmqio-bare" }

func (zmqEcho) Servers() []Server { return []Server{{"worker", zmqEchoRole}} }

// echoHandler gives envelopes to a function. What is wrong ends the process's
// loop.
type echoHandler struct {
	bodies   [][]byte // of each caller the latest
	envelope func(from wire.Peer, caller int, body []byte) error
	fail     context.CancelCauseFunc
}

func (h *echoHandler) Envelope(from wire.Peer, env []byte) {
	caller, err := callerOf(env, len(h.bodies))
	if err == nil {
		h.bodies[caller] = append(h.bodies[caller][:0], env...)
		err = h.envelope(from, caller, h.bodies[caller])
	}
	if err != nil {
		h.fail(err)
	}
}

func (h *echoHandler) Malformed(_ wire.Peer, err error) { h.fail(err) }
func (h *echoHandler) Gone(wire.Peer)                   {}
func (h *echoHandler) Tick(time.Time)                   {}

// zmqPeer answers the peer that a call came from.
type zmqPeer struct {
	loop *zmqio.Loop
	to   wire.Peer
}

// answer sends a reply; a client that is gone misses nothing.
func (z zmqPeer) answer(reply []byte) { _ = z.loop.Send(z.to, reply) }

func zmqEchoRole(ctx context.Context, p *Process) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	sessions := newPinned(ctx, p.Sessions)
	h := &echoHandler{bodies: make([][]byte, p.Sessions), fail: fail}
	loop, err := zmqio.NewLoop(h, zmqio.Options{Tick: zmqEchoTick})
	if err != nil {
		return err
	}
	clients := map[wire.Peer]*zmqPeer{} // the loop's
	h.envelope = func(from wire.Peer, _ int, body []byte) error {
		client := clients[from]
		if client == nil {
			client = &zmqPeer{loop, from}
			clients[from] = client
		}
		return sessions.give(body, client)
	}
	at, err := loop.Listen("tcp://127.0.0.1:0")
	if err != nil {
		return err
	}
	p.Ready(at)
	if err := loop.Run(ctx); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// Dial makes one loop for all callers.
func (zmqEcho) Dial(ctx context.Context, p *Process) ([]Caller, error) {
	ctx, fail := context.WithCancelCause(ctx) // until the process ends
	replies := newInboxes(p.Sessions)
	h := &echoHandler{bodies: make([][]byte, p.Sessions), fail: fail, envelope: func(_ wire.Peer, caller int, body []byte) error {
		return replies.put(caller, body)
	}}
	loop, err := zmqio.NewLoop(h, zmqio.Options{Tick: zmqEchoTick})
	if err != nil {
		fail(err)
		return nil, err
	}
	to, err := loop.Connect(p.At[0])
	if err != nil {
		fail(err)
		return nil, err
	}
	go func() {
		err := loop.Run(ctx)
		replies.fail(errors.Join(err, context.Cause(ctx)))
	}()
	return replies.callers(func(body []byte) error { return loop.Send(to, body) }), nil
}
