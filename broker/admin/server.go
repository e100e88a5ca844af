package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// DefaultAddress is where a broker's pages are when nobody says otherwise.
const DefaultAddress = "127.0.0.1:7701"

// Bounds of one connection, and of how many there are.
const (
	headTime        = 5 * time.Second
	readTime        = 10 * time.Second
	writeTime       = 30 * time.Second
	idleTime        = time.Minute
	headBytes       = 16 << 10
	connectionsMost = 256
	goodbye         = 2 * time.Second // for requests under way when the server ends
)

// Server serves pages at an address.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen takes the address, host:port. The error names a port that is in use.
func Listen(address string, pages http.Handler, log *slog.Logger) (*Server, error) {
	l, err := net.Listen("tcp", address) //nolint:noctx // binding does not wait for anybody
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("admin pages: listen on %s: the port is in use by another process", address)
	case err != nil:
		return nil, fmt.Errorf("admin pages: listen on %s: %w", address, err)
	}
	s := &Server{
		listener: &bounded{Listener: l, room: make(chan struct{}, connectionsMost)},
		http: &http.Server{
			Handler: pages, ReadHeaderTimeout: headTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
			MaxHeaderBytes: headBytes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		},
	}
	if p, ok := pages.(*Pages); ok { // its listeners never end by themselves
		s.http.RegisterOnShutdown(p.end)
	}
	return s, nil
}

// Address is where the server listens, with the port it got.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Run serves until ctx ends, lets requests under way finish for a moment, and
// returns nil. It blocks, and may be called once.
func (s *Server) Run(ctx context.Context) error {
	ended := make(chan error, 1)
	go func() { ended <- s.http.Serve(s.listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("admin pages: %w", err)
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer cancel()
	if err := s.http.Shutdown(last); err != nil {
		_ = s.http.Close() // what is still under way is cut
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin pages: %w", err)
	}
	return nil
}

// Close gives the address back where Run is not called after all.
func (s *Server) Close() error { return s.listener.Close() }

// bounded is a listener with a bound on its open connections; the next one
// waits in the system's backlog.
type bounded struct {
	net.Listener

	room chan struct{}
}

// Accept waits for room first. Closing the listener ends the accept, and room
// comes back at the latest when the connections' time is over.
func (b *bounded) Accept() (net.Conn, error) {
	b.room <- struct{}{}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.room
		return nil, err
	}
	return &held{Conn: c, free: sync.OnceFunc(func() { <-b.room })}, nil
}

// held is a connection that takes room until it is closed.
type held struct {
	net.Conn

	free func()
}

func (h *held) Close() error {
	h.free()
	return h.Conn.Close()
}
