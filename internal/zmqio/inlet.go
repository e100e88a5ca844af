package zmqio

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// ErrUnfinished is given to Handler.Malformed for a connection that was cut
// because it sent Options.Unfinished bytes without completing a message.
var ErrUnfinished = errors.New("zmqio: connection cut: a message without an end")

const (
	lookEvery   = 100 * time.Millisecond
	looksATick  = 2000 // connections looked at in one tick
	eventsATick = 2000
	// forgiven is what a connection may send a second outside of messages
	// without being suspected: heartbeats of the transport.
	forgiven = 256
)

var lastMonitor atomic.Uint64

// inlet watches the TCP connections of one ROUTER for messages without an end.
// libzmq shows a message to nobody before its last part is there, and neither
// MAXMSGSIZE nor the high water mark counts the parts before it, so one
// connection could fill the memory. What can be seen from outside is that the
// kernel has received bytes on a connection while no message of it came out.
//
// A look at a connection compares with the look before. If a message of it was
// completed in between, it is innocent. If none was although the socket was
// emptied in between, or as many messages were taken as there are peers (libzmq
// serves its peers in turn), then what it has received belongs to a message
// that has not ended.
//
// Guarded by the socket's mu.
type inlet struct {
	monitor *zmq.Socket // nil: nothing is watched
	limit   uint64
	byFD    map[int]*connection
	order   []*connection // looked at from cursor on
	cursor  int
	lookAt  time.Time
	emptied uint64 // how often the socket had no more to receive
	taken   uint64 // how many messages were received
}

// connection is one accepted TCP connection. Its descriptor belongs to libzmq
// and may be closed and used again at any time; the cookie, which the kernel
// gives to one socket only, tells.
type connection struct {
	fd         int
	cookie     uint64
	over       bool // not to be found in the inlet any more
	from       wire.Peer
	completed  bool // a message since the last look
	received   uint64
	unfinished uint64
	emptied    uint64
	taken      uint64
	looked     time.Time
}

// watch begins to watch the connections that zs will accept.
func (in *inlet) watch(c *zmq.Context, zs *zmq.Socket, limit int) error {
	address := "inproc://accepted." + strconv.FormatUint(lastMonitor.Add(1), 10)
	if err := zs.Monitor(address, zmq.EVENT_ACCEPTED); err != nil {
		return fmt.Errorf("zmqio: watch connections: %w", err)
	}
	m, err := c.NewSocket(zmq.PAIR)
	if err != nil {
		return fmt.Errorf("zmqio: watch connections: %w", err)
	}
	// Unlimited: libzmq's I/O thread blocks where the events do not fit.
	err = errors.Join(m.SetRcvhwm(0), m.SetLinger(0), m.Connect(address))
	if err != nil {
		_ = m.Close()
		return fmt.Errorf("zmqio: watch connections: %w", err)
	}
	in.monitor, in.limit, in.byFD = m, uint64(limit), make(map[int]*connection)
	return nil
}

func (in *inlet) close() error {
	if in.monitor == nil {
		return nil
	}
	err := in.monitor.Close()
	in.monitor = nil
	return err
}

// knows tells whether a message of p needs no word about its origin.
// Identities that ROUTER makes belong to one connection, others may move.
func (in *inlet) knows(p *peer) bool {
	return in.monitor == nil || p != nil && p.connection != nil && !p.connection.over && p.identity[0] == 0
}

// completed notes that p has sent a whole message. fd is the descriptor that
// it came from, zero where knows said that it is known.
func (in *inlet) completed(p *peer, fd int, now time.Time) {
	if in.monitor == nil {
		return
	}
	in.taken++
	if c := p.connection; fd != 0 && (c == nil || c.over || c.fd != fd) {
		in.accept(now) // the report of the connection is there before its first message
		p.connection = in.byFD[fd]
	}
	if p.connection != nil {
		p.connection.completed = true
		p.connection.from = p.id
	}
}

// inspect looks at some of the connections and returns those it has cut. peers
// is how many peers the socket knows.
func (in *inlet) inspect(now time.Time, peers int) (cut []arrival) {
	if in.monitor == nil {
		return nil
	}
	in.accept(now)
	if in.cursor == 0 {
		if now.Before(in.lookAt) {
			return nil
		}
		in.lookAt = now.Add(lookEvery)
	}
	for looks := 0; looks < looksATick && in.cursor < len(in.order); looks++ {
		c := in.order[in.cursor]
		received, cookie, err := examine(c.fd)
		if err != nil || cookie != c.cookie {
			in.drop(c)
			continue
		}
		if c.suspect(in, received, now, peers) > in.limit && sever(c.fd, c.cookie) == nil {
			cut = append(cut, arrival{from: c.from, fault: ErrUnfinished})
			in.drop(c)
			continue
		}
		in.cursor++
	}
	if in.cursor >= len(in.order) {
		in.cursor = 0
	}
	return cut
}

// accept begins to watch the connections accepted since the last time.
func (in *inlet) accept(now time.Time) {
	for range eventsATick {
		event, endpoint, fd, err := in.monitor.RecvEvent(zmq.DONTWAIT)
		if err != nil {
			return
		}
		if event != zmq.EVENT_ACCEPTED || !strings.HasPrefix(endpoint, "tcp://") {
			continue
		}
		if old := in.byFD[fd]; old != nil {
			old.over = true // inspect drops it, its cookie is another
		}
		received, cookie, err := examine(fd)
		if err != nil || !localTo(fd, endpoint) {
			continue
		}
		c := &connection{fd: fd, cookie: cookie, received: received, looked: now, emptied: in.emptied, taken: in.taken}
		in.byFD[fd] = c
		in.order = append(in.order, c)
	}
}

// drop forgets a connection; the last one takes its place in the order.
func (in *inlet) drop(c *connection) {
	c.over = true
	if in.byFD[c.fd] == c {
		delete(in.byFD, c.fd)
	}
	last := len(in.order) - 1
	in.order[in.cursor] = in.order[last]
	in.order[last] = nil
	in.order = in.order[:last]
}

// suspect takes the result of a look and returns how many bytes the connection
// has sent for a message that has not ended.
func (c *connection) suspect(in *inlet, received uint64, now time.Time, peers int) uint64 {
	grown := received - c.received
	allowed := uint64(now.Sub(c.looked).Seconds() * forgiven)
	switch {
	case c.completed:
		c.unfinished = 0
	case in.emptied == c.emptied && in.taken-c.taken <= uint64(peers):
		return c.unfinished // its messages may still wait; judged at a later look
	default:
		c.unfinished += grown
		c.unfinished -= min(allowed, c.unfinished)
	}
	c.completed, c.received, c.looked = false, received, now
	c.emptied, c.taken = in.emptied, in.taken
	return c.unfinished
}
