package main

import (
	"context"
	"errors"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// grpcUnary is gRPC with one channel that all callers share and a unary call for
// each echo. Its server runs each call on a goroutine of its own, which passes
// it to the session's.
type grpcUnary struct{}

// grpcStream is gRPC with a bidirectional stream for each caller: a session is a
// stream, and its goroutine is that of the stream's handler.
type grpcStream struct{}

// Methods of the service, which has no .proto: its messages are protobuf's own
// BytesValue.
const (
	grpcUnaryMethod  = "/bench.Echo/Unary"
	grpcStreamMethod = "/bench.Echo/Stream"
)

var grpcStreamDesc = grpc.StreamDesc{StreamName: "Stream", Handler: grpcServeStream, ServerStreams: true, ClientStreams: true}

var grpcService = grpc.ServiceDesc{
	ServiceName: "bench.Echo",
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Unary", Handler: grpcServeUnary}},
	Streams:     []grpc.StreamDesc{grpcStreamDesc},
}

func grpcServeUnary(srv any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	in := &wrapperspb.BytesValue{}
	if err := decode(in); err != nil {
		return nil, err
	}
	reply, err := srv.(pinned).ask(ctx, in.GetValue())
	return wrapperspb.Bytes(reply), err
}

func grpcServeStream(_ any, s grpc.ServerStream) error {
	m := &wrapperspb.BytesValue{}
	for {
		if err := s.RecvMsg(m); err != nil {
			return err
		}
		if err := s.SendMsg(m); err != nil {
			return err
		}
	}
}

func grpcServerRole(ctx context.Context, p *Process) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := grpc.NewServer()
	s.RegisterService(&grpcService, newPinned(ctx, p.Sessions))
	defer context.AfterFunc(ctx, s.Stop)()
	p.Ready(l.Addr().String())
	return errors.Join(s.Serve(l), ctx.Err())
}

func grpcDial(p *Process) (*grpc.ClientConn, error) {
	return grpc.NewClient(p.At[0], grpc.WithTransportCredentials(insecure.NewCredentials()))
}

func (grpcUnary) Name() string      { return "grpc-unary" }
func (grpcUnary) Servers() []Server { return []Server{{"worker", grpcServerRole}} }

// Dial makes one channel for all callers.
func (grpcUnary) Dial(_ context.Context, p *Process) ([]Caller, error) {
	c, err := grpcDial(p)
	if err != nil {
		return nil, err
	}
	callers := make([]Caller, p.Sessions)
	for i := range callers {
		callers[i] = func(ctx context.Context, body []byte) ([]byte, error) {
			reply := &wrapperspb.BytesValue{}
			err := c.Invoke(ctx, grpcUnaryMethod, wrapperspb.Bytes(body), reply)
			return reply.GetValue(), err
		}
	}
	return callers, nil
}

func (grpcStream) Name() string      { return "grpc-stream" }
func (grpcStream) Servers() []Server { return []Server{{"worker", grpcServerRole}} }

// Dial makes one channel with a stream for each caller.
func (grpcStream) Dial(ctx context.Context, p *Process) ([]Caller, error) {
	c, err := grpcDial(p)
	if err != nil {
		return nil, err
	}
	callers := make([]Caller, p.Sessions)
	for i := range callers {
		s, err := c.NewStream(ctx, &grpcStreamDesc, grpcStreamMethod)
		if err != nil {
			return nil, err
		}
		in, out := &wrapperspb.BytesValue{}, &wrapperspb.BytesValue{}
		callers[i] = func(_ context.Context, body []byte) ([]byte, error) {
			out.Value = body
			if err := s.SendMsg(out); err != nil {
				return nil, err
			}
			err := s.RecvMsg(in)
			return in.GetValue(), err
		}
	}
	return callers, nil
}
