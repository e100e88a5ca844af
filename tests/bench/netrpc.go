package main

import (
	"context"
	"net"
	"net/rpc"
)

// netRPC is Go's net/rpc as its documentation shows it: one client that all
// callers share, gob on the wire. Its server runs each call on a new goroutine,
// which passes it to the session's.
type netRPC struct{}

// NetRPCService has the form that net/rpc wants.
type NetRPCService struct {
	ctx      context.Context
	sessions pinned
}

// Echo returns its argument.
func (s *NetRPCService) Echo(body []byte, reply *[]byte) (err error) {
	*reply, err = s.sessions.ask(s.ctx, body)
	return err
}

func (netRPC) Name() string { return "net-rpc" }

func (netRPC) Servers() []Server {
	return []Server{{"worker", func(ctx context.Context, p *Process) error {
		server := rpc.NewServer()
		if err := server.RegisterName("Bench", &NetRPCService{ctx, newPinned(ctx, p.Sessions)}); err != nil {
			return err
		}
		return acceptEach(ctx, p, func(c net.Conn) error {
			server.ServeConn(c)
			return nil
		})
	}}}
}

// Dial makes one client for all callers.
func (netRPC) Dial(_ context.Context, p *Process) ([]Caller, error) {
	c, err := rpc.Dial("tcp", p.At[0])
	if err != nil {
		return nil, err
	}
	callers := make([]Caller, p.Sessions)
	for i := range callers {
		callers[i] = func(_ context.Context, body []byte) ([]byte, error) {
			var reply []byte
			err := c.Call("Bench.Echo", body, &reply)
			return reply, err
		}
	}
	return callers, nil
}
