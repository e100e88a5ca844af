package main

import "context"

// Peer is one way to make pinned calls. It is the only thing that a new peer has
// to bring, in a file of its own; peers lists it.
type Peer interface {
	// Name is how tables and flags call it.
	Name() string
	// Servers are the processes to start before the client, in this order.
	Servers() []Server
	// Dial runs in the client process. It makes p.Sessions callers, each with
	// a worker of its own, whose servers announced p.At.
	Dial(ctx context.Context, p *Process) ([]Caller, error)
}

// Server is one server process of a peer.
type Server struct {
	Name  string // what it is within the peer: broker, node, server
	Serve Role
}

// Driver is a peer whose calls are not made from Go: it makes the whole load of a
// run itself, in processes of its own, and Dial is not used.
type Driver interface {
	Drive(ctx context.Context, p *Process, order LoadOrder) (Load, error)
}

// Needy is a peer that needs what a machine may not have.
type Needy interface {
	// Missing is what is missing, nil where nothing is.
	Missing(ctx context.Context) error
}

// Caller makes one echo and returns the reply. One goroutine uses it, a
// call at a time. The body may be reused once it has returned.
type Caller func(ctx context.Context, body []byte) ([]byte, error)

// peers are all peers, the baseline of `first` before the others.
func peers() []Peer {
	return []Peer{
		naive{},
		limpetRelayed{},
		limpetTwoBrokers{},
		limpetLocked{},
		limpetDirect{},
		limpetKept{},
		limpetDirectLocked{},
		limpetLanes{},
		limpetOpens{},
		limpetOnce{},
		zmqEcho{},
		tcpConnections{},
		tcpMultiplexed{},
		netRPC{},
		natsQueue{},
		grpcUnary{},
		grpcStream{},
		czmqDirect(), czmqThreads(), czmqBroker(),
	}
}

func peerNamed(name string) (Peer, bool) {
	for _, p := range peers() {
		if p.Name() == name {
			return p, true
		}
	}
	return nil, false
}
