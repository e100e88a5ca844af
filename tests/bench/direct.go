package main

import (
	"context"
	"runtime"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// limpetDirect is Limpet as it comes: calls go from the client to the node, the
// broker only opens the sessions.
type limpetDirect struct{ limpetRelayed }

func (limpetDirect) Name() string { return "limpet-direct" }

// Dial opens a session for each caller.
func (limpetDirect) Dial(ctx context.Context, p *Process) ([]Caller, error) {
	return limpetCallers(ctx, p)
}

// limpetKept is limpetDirect whose handlers and callers may keep what they are given:
// each argument and each result is memory of its own.
type limpetKept struct{ limpetDirect }

func (limpetKept) Name() string { return "limpet-direct-kept" }

// Dial opens a session for each caller.
func (limpetKept) Dial(ctx context.Context, p *Process) ([]Caller, error) {
	c, err := client.Dial(ctx, p.At[0])
	if err != nil {
		return nil, err
	}
	sessions, err := openSessions(ctx, c, p.Sessions)
	if err != nil {
		return nil, err
	}
	callers := make([]Caller, len(sessions))
	for i, s := range sessions {
		callers[i] = func(ctx context.Context, body []byte) ([]byte, error) {
			return client.Call[[]byte](ctx, s, "keep", body)
		}
	}
	return callers, nil
}

// limpetDirectLocked is limpetDirect with every session locked to an OS thread
// of its own.
type limpetDirectLocked struct {
	limpetDirect
	locked limpetLocked
}

func (limpetDirectLocked) Name() string { return "limpet-direct-locked" }

// Servers are those of limpetLocked.
func (l limpetDirectLocked) Servers() []Server { return l.locked.Servers() }

// limpetLanes is limpetDirect with all sessions on as many locked OS threads as
// there are processors.
type limpetLanes struct{ limpetDirect }

func (limpetLanes) Name() string { return "limpet-lanes" }

// Servers are the broker, and a node with lanes.
func (limpetLanes) Servers() []Server {
	return []Server{{"broker", limpetBrokerRole}, {"node", func(ctx context.Context, p *Process) error {
		return serveLimpet(ctx, p, worker.Config[struct{}]{Lanes: runtime.NumCPU()})
	}}}
}
