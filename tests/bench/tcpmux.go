package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
)

// tcpMultiplexed is Go and nothing else: one TCP connection for all callers, a
// goroutine of the worker for each session, and whatever waits is written at
// once. It is the fastest that plain Go does here, and the roof of what any Go
// library can reach.
type tcpMultiplexed struct{}

// muxBuffer is what one read takes in.
const muxBuffer = 64 << 10

func (tcpMultiplexed) Name() string { return "tcp-multiplexed" }

func (tcpMultiplexed) Servers() []Server {
	return []Server{{"worker", func(ctx context.Context, p *Process) error {
		return acceptEach(ctx, p, func(c net.Conn) error {
			out := &muxWriter{conn: c}
			sessions := newPinned(ctx, p.Sessions)
			return muxRead(c, p.Sessions, func(_ int, body []byte) error { return sessions.give(body, out) })
		})
	}}}
}

// muxRead gives every body that comes in to f, with its caller. A caller's body
// is good until that caller's next: it has one call at a time.
func muxRead(c net.Conn, callers int, f func(caller int, body []byte) error) error {
	in := bufio.NewReaderSize(c, muxBuffer)
	bodies := make([][]byte, callers)
	var head [2 * tcpHead]byte // length, caller
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		n, caller := binary.LittleEndian.Uint32(head[:]), int(binary.LittleEndian.Uint32(head[tcpHead:]))
		if n > tcpMost || caller >= callers {
			return fmt.Errorf("a body of %d bytes from caller %d of %d", n, caller, callers)
		}
		if int(n) > cap(bodies[caller]) {
			bodies[caller] = make([]byte, n)
		}
		body := bodies[caller][:n]
		if _, err := io.ReadFull(in, body); err != nil {
			return err
		}
		if err := f(caller, body); err != nil {
			return err
		}
	}
}

// muxWriter coalesces: whoever finds nobody writing writes for all.
type muxWriter struct {
	conn net.Conn

	mu      sync.Mutex
	waiting []byte
	spare   []byte
	writing bool
	err     error
}

// answer sends a reply; what fails is seen by the reader of the connection.
func (w *muxWriter) answer(reply []byte) { _ = w.send(reply) }

// send copies body. It blocks while it writes for others.
func (w *muxWriter) send(body []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = binary.LittleEndian.AppendUint32(w.waiting, uint32(len(body)))
	w.waiting = binary.LittleEndian.AppendUint32(w.waiting, uint32(binary.LittleEndian.Uint64(body)))
	w.waiting = append(w.waiting, body...)
	if w.writing {
		return w.err
	}
	w.writing = true
	for len(w.waiting) > 0 && w.err == nil {
		w.mu.Unlock()
		runtime.Gosched() // who is runnable adds to the batch
		w.mu.Lock()
		batch := w.waiting
		w.waiting = w.spare[:0]
		w.mu.Unlock()
		_, err := w.conn.Write(batch)
		w.mu.Lock()
		w.spare, w.err = batch, err
	}
	w.writing = false
	return w.err
}

// Dial makes one connection for all callers.
func (tcpMultiplexed) Dial(ctx context.Context, p *Process) ([]Caller, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.At[0])
	if err != nil {
		return nil, err
	}
	out := &muxWriter{conn: c}
	replies := newInboxes(p.Sessions)
	go func() { replies.fail(muxRead(c, p.Sessions, replies.put)) }() // ends with the connection
	return replies.callers(out.send), nil
}

// inboxes are where the callers of a multiplexed connection wait for their
// replies, one call at a time.
type inboxes struct {
	replies []chan []byte
	failed  chan struct{} // closed once err is set
	err     error
}

func newInboxes(n int) *inboxes {
	in := &inboxes{replies: make([]chan []byte, n), failed: make(chan struct{})}
	for i := range in.replies {
		in.replies[i] = make(chan []byte, 1)
	}
	return in
}

// put hands a reply to its caller; one that nobody waits for is an error.
func (in *inboxes) put(caller int, reply []byte) error {
	select {
	case in.replies[caller] <- reply:
		return nil
	default:
		return fmt.Errorf("two replies for caller %d", caller)
	}
}

// fail ends all calls; it is called once.
func (in *inboxes) fail(err error) {
	in.err = fmt.Errorf("receive: %w", err)
	close(in.failed)
}

func (in *inboxes) callers(send func([]byte) error) []Caller {
	callers := make([]Caller, len(in.replies))
	for i, replies := range in.replies {
		callers[i] = func(ctx context.Context, body []byte) ([]byte, error) {
			if err := send(body); err != nil {
				return nil, err
			}
			select {
			case reply := <-replies:
				return reply, nil
			case <-in.failed:
				return nil, in.err
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
	}
	return callers
}
