package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// tcpConnections is Go and nothing else: a TCP connection for each caller, and a
// goroutine of the worker for each connection. A message is its length and its
// body.
type tcpConnections struct{}

const (
	tcpHead = 4
	tcpMost = 1 << 20 // bytes of a body
)

func (tcpConnections) Name() string { return "tcp-connections" }

func (tcpConnections) Servers() []Server {
	return []Server{{"worker", func(ctx context.Context, p *Process) error {
		return acceptEach(ctx, p, func(c net.Conn) error {
			m := newTCPMessages(c)
			for {
				body, err := m.receive()
				if err != nil {
					return err
				}
				if err := m.send(body); err != nil {
					return err
				}
			}
		})
	}}}
}

// acceptEach listens, announces it, and serves each connection on a goroutine of
// its own until ctx ends or a connection fails otherwise than by its end.
func acceptEach(ctx context.Context, p *Process, serve func(net.Conn) error) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	failed := make(chan error, 1) // the first says it all, the others are dropped
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				fail(err)
				return
			}
			go func() {
				if err := serve(c); err != nil && !errors.Is(err, io.EOF) {
					fail(err)
				}
			}()
		}
	}()
	p.Ready(l.Addr().String())
	select {
	case err = <-failed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	return errors.Join(err, l.Close())
}

// Dial makes a connection for each caller.
func (tcpConnections) Dial(ctx context.Context, p *Process) ([]Caller, error) {
	callers := make([]Caller, p.Sessions)
	for i := range callers {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.At[0])
		if err != nil {
			return nil, err
		}
		m := newTCPMessages(c)
		callers[i] = func(_ context.Context, body []byte) ([]byte, error) {
			if err := m.send(body); err != nil {
				return nil, err
			}
			return m.receive()
		}
	}
	return callers, nil
}

// tcpMessages is one side of a connection, for one goroutine: its buffers are
// used again for every message.
type tcpMessages struct {
	conn    net.Conn
	in      *bufio.Reader
	body    []byte
	out     []byte
	headers [tcpHead]byte
}

func newTCPMessages(c net.Conn) *tcpMessages {
	return &tcpMessages{conn: c, in: bufio.NewReader(c)}
}

// send writes head and body at once.
func (m *tcpMessages) send(body []byte) error {
	m.out = append(binary.LittleEndian.AppendUint32(m.out[:0], uint32(len(body))), body...)
	_, err := m.conn.Write(m.out)
	return err
}

// receive returns the next body, which is good until the one after it.
func (m *tcpMessages) receive() ([]byte, error) {
	if _, err := io.ReadFull(m.in, m.headers[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(m.headers[:])
	if n > tcpMost {
		return nil, fmt.Errorf("a body of %d bytes", n)
	}
	if int(n) > cap(m.body) {
		m.body = make([]byte, n)
	}
	m.body = m.body[:n]
	_, err := io.ReadFull(m.in, m.body)
	return m.body, err
}
