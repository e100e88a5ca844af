package front

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"
)

// DefaultAddress is where a front listens when nobody says otherwise.
const DefaultAddress = "127.0.0.1:7780"

// Bounds of one connection.
const (
	headTime  = 10 * time.Second
	idleTime  = 2 * time.Minute
	headBytes = 64 << 10
)

// Server serves a front at an address.
type Server struct {
	listener net.Listener
	front    *Front
	grace    time.Duration
	http     *http.Server
	cut      context.CancelFunc // ends the requests that are under way
}

// Listen takes the address, host:port. Grace is how long requests under way may
// go on at the end.
func Listen(address string, f *Front, grace time.Duration) (*Server, error) {
	l, err := net.Listen("tcp", address) //nolint:noctx // binding does not wait for anybody
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("http: listen on %s: the port is in use by another process", address)
	case err != nil:
		return nil, fmt.Errorf("http: listen on %s: %w", address, err)
	}
	base, cut := context.WithCancel(context.Background())
	return &Server{
		listener: patient{l}, front: f, grace: grace, cut: cut,
		http: &http.Server{
			Handler: f, ReadHeaderTimeout: headTime, IdleTimeout: idleTime, MaxHeaderBytes: headBytes,
			ErrorLog:    slog.NewLogLogger(f.log.Handler(), slog.LevelDebug),
			BaseContext: func(net.Listener) context.Context { return base },
		},
	}, nil
}

// Address is where the server listens, with the port it got.
func (s *Server) Address() string { return s.listener.Addr().String() }

// cutWait is how long requests may take to end that were cut.
const cutWait = 2 * time.Second

// Run serves until ctx ends, takes nothing new, lets the requests under way end
// for the grace, cancels those that are left, ends the sessions that are kept, and
// returns nil. It blocks, and may be called once.
func (s *Server) Run(ctx context.Context) error {
	defer s.cut()
	ended := make(chan error, 1)
	go func() { ended <- s.http.Serve(s.listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("http: %w", err)
	case <-ctx.Done():
	}
	ctx = context.WithoutCancel(ctx)
	err := s.shut(ctx, s.grace)
	if err != nil {
		s.cut()
		if err = s.shut(ctx, cutWait); err != nil {
			err = s.http.Close()
		}
	}
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	last, cancel := context.WithTimeout(ctx, closeWait)
	defer cancel()
	if err = errors.Join(err, s.front.Close(last)); err != nil {
		return fmt.Errorf("http: %w", err)
	}
	return nil
}

func (s *Server) shut(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return s.http.Shutdown(ctx)
}

// Close gives the address back where Run is not called after all.
func (s *Server) Close() error {
	s.cut()
	return s.listener.Close()
}
