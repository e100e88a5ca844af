package zmqio

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	zmq "github.com/pebbe/zmq4"

	"github.com/limpet-rpc/limpet/internal/wire"
)

const (
	// A batch ends after so many parts or bytes, so that the loop flushes and
	// beats however much there is to receive.
	batchParts = 512
	batchBytes = 1 << 20
	// retriesPerFlush bounds what stalled peers cost the others.
	retriesPerFlush = 4
	// senderRounds is how often a sender flushes again for those who lost the
	// try-lock to it, before it leaves the rest to the loop.
	senderRounds = 4
)

// socket is one ROUTER or DEALER and everything that waits to be sent on it.
// Whoever holds mu may use the ZeroMQ socket, nobody else ever: the loop takes
// mu, senders only try to.
type socket struct {
	// Fixed after construction.
	loop     *Loop
	endpoint string
	fd       int32 // ZMQ_FD
	lead     *peer // where a DEALER leads to; nil on a ROUTER

	outlet outlet // of a DEALER

	// Owned by the loop: the last poll(2) has found ZMQ_FD readable.
	ready bool

	dirty atomic.Pointer[peer] // peers with something to send, linked by nextDirty

	// Guarded by mu.
	mu       sync.Mutex
	transfer transfer
	closed   bool
	settled  bool // libzmq has said that there is no input, and has not been called since: ZMQ_FD fires for the next
	incoming assembly
	roster   roster
	inlet    inlet
	stalled  []*peer // peers that refused a frame; the next to be tried first
}

// arrival is one complete message.
type arrival struct {
	from  wire.Peer
	body  []byte
	block *Block // whose frame body is, or nil
	fault error
	fresh bool // the empty message by which a connection announces itself
	again bool // no message: the connection to from stands again
}

func newSocket(l *Loop, kind zmq.Type, endpoint string) (*socket, error) {
	zs, err := l.context.NewSocket(kind)
	if err != nil {
		return nil, err
	}
	s := &socket{loop: l, endpoint: endpoint, transfer: transfer{zs: zs, router: kind == zmq.ROUTER}}
	s.incoming.router = s.transfer.router
	s.incoming.begin()
	fd, err := zs.GetFd()
	s.fd = int32(fd)
	err = errors.Join(err, s.transfer.open(&l.arena), configure(zs, kind, endpoint, l.options))
	if err == nil && kind == zmq.ROUTER && strings.HasPrefix(endpoint, "tcp://") {
		s.transfer.askOrigins()
		err = s.inlet.watch(l.context, zs, l.options.Unfinished)
	}
	if err == nil && kind == zmq.DEALER && watched(endpoint) {
		err = s.outlet.watch(l.context, zs)
	}
	if err != nil {
		_ = s.transfer.close()
		return nil, err
	}
	return s, nil
}

// configure sets on purpose what would otherwise be a default of libzmq.
func configure(zs *zmq.Socket, kind zmq.Type, endpoint string, o Options) error {
	settings := []error{
		// Frames per peer and direction: with MAXMSGSIZE the bound of what
		// libzmq holds. Beyond it frames wait, and coalesce, in the outbox.
		zs.SetSndhwm(o.SendFrames),
		zs.SetRcvhwm(o.ReceiveFrames),
		// Without it a shutdown waits for a dead peer for ever.
		zs.SetLinger(o.Linger),
		// A larger frame costs its sender the connection, before it costs memory.
		zs.SetMaxmsgsize(wire.MaxFrame),
		// Who connects and does not speak ZMTP is gone after a second.
		zs.SetHandshakeIvl(time.Second),
		// A restarted broker should be found at once, a missing one not hammered:
		// libzmq doubles the interval with every attempt.
		zs.SetReconnectIvl(2 * time.Millisecond),
		zs.SetReconnectIvlMax(time.Second),
		// A host that swallows packets would otherwise hold a connect for minutes.
		zs.SetConnectTimeout(3 * time.Second),
		// Dead connections: the kernel's probes find a vanished host, ZMTP's find
		// a cut path sooner. Libzmq's I/O thread answers both, so neither says
		// anything about the program behind it; beats do.
		zs.SetTcpKeepalive(1),
		zs.SetTcpKeepaliveIdle(30),
		zs.SetTcpKeepaliveIntvl(10),
		zs.SetTcpKeepaliveCnt(3),
		zs.SetHeartbeatIvl(2 * time.Second),
		zs.SetHeartbeatTimeout(10 * time.Second),
		zs.SetHeartbeatTtl(10 * time.Second),
		// All clients come back at the same moment after a restart.
		zs.SetBacklog(4096),
		// Only where asked for: with it "localhost" may mean ::1 alone.
		zs.SetIpv6(strings.Contains(endpoint, "[")),
	}
	if kind == zmq.ROUTER {
		// A message that cannot be routed is an error and not silence. And
		// ROUTER_HANDOVER stays off: with it one peer can take another's identity.
		settings = append(settings, zs.SetRouterMandatory(1))
	} else {
		// Off: what is sent before the connection stands, or while it is being
		// renewed, waits in the pipe. On, a renewal would throw the pipe away.
		settings = append(settings, zs.SetImmediate(false))
		// The far ROUTER gets an empty message when the connection comes up first:
		// see Greeter, and Renewer for every other time.
		settings = append(settings, zs.SetProbeRouter(1))
	}
	if err := errors.Join(settings...); err != nil {
		return fmt.Errorf("zmqio: set socket options: %w", err)
	}
	return nil
}

// receive appends complete messages to batch until there are no more or the
// batch is full. drained tells which. Libzmq is asked only where it may have
// something: silent says that ZMQ_FD has not fired. For the loop goroutine only.
func (s *socket) receive(batch []arrival, silent bool) (_ []arrival, drained bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if silent && s.settled {
		return s.emptied(batch), true, nil
	}
	size := 0
	s.settled = false
	s.transfer.lookAgain()
	for parts := 0; parts < batchParts && size < batchBytes; parts++ {
		if s.closed {
			return batch, true, nil
		}
		next, ok, err := s.transfer.receive(s.wanted())
		if err != nil {
			return batch, true, err
		}
		if !ok {
			s.settled = true
			return s.emptied(batch), true, nil
		}
		size += len(next.bytes)
		if s.incoming.add(next) {
			batch = append(batch, s.arrived())
			s.incoming.begin()
		}
	}
	return batch, false, nil
}

// emptied notes that there is no more to receive, and what that brings to light.
// The caller holds mu.
func (s *socket) emptied(batch []arrival) []arrival {
	s.inlet.emptied++
	if s.outlet.renewed() { // what came by the connection before has been read
		batch = append(batch, arrival{from: s.lead.id, again: true})
	}
	return batch
}

// wanted is what the next part may be, and whether the inlet has to learn where
// it came from. The caller holds mu.
func (s *socket) wanted() want {
	m := &s.incoming
	return want{
		identity: m.expectsMore(),
		origin:   m.opens() && !s.inlet.knows(s.roster.lookup(m.identity)),
		block:    s.loop.blocks != nil && m.expectsBody(),
	}
}

// arrived turns the assembled message into an arrival. The caller holds mu.
func (s *socket) arrived() arrival {
	m := &s.incoming
	known := s.lead != nil || s.roster.lookup(m.identity) != nil
	p, err := s.sender(m.identity)
	if err != nil {
		m.drop()
		return arrival{fault: err}
	}
	p.delimiter = m.delimiter
	s.inlet.completed(p, m.origin, time.Unix(0, s.loop.now.Load()))
	if m.fault != nil {
		fresh := !known && !m.delimiter && errors.Is(m.fault, ErrNoBody)
		return arrival{from: p.id, fault: m.fault, fresh: fresh}
	}
	return arrival{from: p.id, body: m.body, block: m.block}
}

// sender finds the peer behind an identity, or introduces it. The caller holds mu.
func (s *socket) sender(identity []byte) (*peer, error) {
	if s.lead != nil {
		return s.lead, nil
	}
	now := s.loop.now.Load()
	if p := s.roster.lookup(identity); p != nil {
		s.roster.touch(p, now)
		return p, nil
	}
	if s.roster.size() >= s.loop.options.MaxPeers {
		s.forget(s.roster.oldest, nil)
	}
	p := &peer{socket: s, identity: bytes.Clone(identity), key: string(identity)}
	if err := s.loop.directory.enter(p); err != nil {
		return nil, err
	}
	s.roster.add(p, now)
	return p, nil
}

// forget drops a peer, with the frames that a flusher had taken for it, and has
// the loop report it. The caller holds mu.
func (s *socket) forget(p *peer, unsent *frame) {
	s.roster.remove(p)
	s.markStalled(p, false)
	s.loop.directory.remove(p)
	s.loop.count.dropped.Add(uint64(p.bury(unsent)))
	s.loop.inbox.addGone(p.id)
	s.loop.wakeIfParked()
}

// inspect cuts connections that send a message without an end, and returns what
// to say about them. For the loop goroutine only.
func (s *socket) inspect(now time.Time) []arrival {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	return s.inlet.inspect(now, s.roster.size())
}

// forgetIdle drops the peers without traffic since then. For the loop goroutine.
func (s *socket) forgetIdle(then int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := s.roster.oldest; p != nil && p.seen < then; p = s.roster.oldest {
		s.forget(p, nil)
	}
}

// markDirty puts p on the list of peers to flush. The caller has set p.queued.
func (s *socket) markDirty(p *peer) {
	for {
		head := s.dirty.Load()
		p.nextDirty = head
		if s.dirty.CompareAndSwap(head, p) {
			return
		}
	}
}

// flushAsSender is how a sending goroutine sends by itself while the loop is
// parked. Whoever holds mu looks at the dirty list again after it has let go,
// so losing the try-lock means that somebody else sends. early is for a peer
// with a full frame, which waits neither for company nor for the loop.
func (s *socket) flushAsSender(early bool) {
	for round := 0; s.dirty.Load() != nil; round++ {
		if s.loop.awake.Load() && !early {
			return
		}
		if round == senderRounds {
			s.loop.wakeIfParked()
			return
		}
		if !s.mu.TryLock() {
			return
		}
		sent := s.flush()
		// The sends may have eaten the edge of ZMQ_FD that announced input.
		input := !s.closed && !s.loop.awake.Load() && s.readable()
		s.mu.Unlock()
		s.loop.count.framesBySender.Add(sent)
		if input {
			s.loop.wakeIfParked()
		}
		early = false
	}
}

// flushAsOwner sends everything that is dirty, and tries a few stalled peers:
// what was received may have come with room for them. For the loop goroutine
// only.
func (s *socket) flushAsOwner() {
	if s.dirty.Load() == nil && s.loop.count.stalled.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flush()
}

// flush empties the dirty list and tries a few of the stalled peers again. It
// returns the number of frames sent. The caller holds mu.
func (s *socket) flush() (sent uint64) {
	if s.closed {
		return 0
	}
	for p := s.dirty.Swap(nil); p != nil; {
		next := p.nextDirty
		sent += s.flushPeer(p)
		p = next
	}
	return sent + s.retryStalled(retriesPerFlush)
}

// retryStalled offers up to n stalled peers their frames again, each at most
// once. The caller holds mu.
func (s *socket) retryStalled(n int) (sent uint64) {
	for range min(n, len(s.stalled)) {
		p := s.stalled[0]
		s.stalled = s.stalled[1:]
		sent += s.flushPeer(p)
	}
	if len(s.stalled) == 0 {
		s.stalled = nil
	}
	return sent
}

// retryAllStalled is the loop's, once a tick, and reports how many stay stalled.
func (s *socket) retryAllStalled() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.retryStalled(len(s.stalled))
	}
	return len(s.stalled)
}

// flushPeer sends what waits for p and returns the number of frames sent. The
// caller holds mu.
func (s *socket) flushPeer(p *peer) (sent uint64) {
	p.mu.Lock()
	next := p.out.take()
	p.mu.Unlock()

	var v verdict
	var err error
	bytes, envelopes := 0, 0
	s.settled = s.settled && next == nil
	for next != nil {
		if v, err = s.transfer.send(p, next); v != taken {
			break
		}
		sent++
		bytes += len(next.buf)
		envelopes += next.envelopes
		next = next.recycle()
	}
	if sent > 0 {
		s.countOut(p, sent, bytes, envelopes)
	}
	switch v {
	case unroutable:
		s.forget(p, next)
	case impossible:
		s.settle(p, bytes, next)
		s.loop.fail(err)
	default:
		s.settle(p, bytes, next)
	}
	return sent
}

func (s *socket) countOut(p *peer, frames uint64, bytes, envelopes int) {
	c := &s.loop.count
	c.framesOut.Add(frames)
	c.bytesOut.Add(uint64(bytes))
	c.envelopesOut.Add(uint64(envelopes))
	if s.lead == nil {
		s.roster.touch(p, s.loop.now.Load())
	}
}

// settle ends a flush of p: bytes have been sent, unsent could not be. A peer
// that has got new envelopes meanwhile is dirty again. The caller holds mu.
func (s *socket) settle(p *peer, bytes int, unsent *frame) {
	p.mu.Lock()
	p.out.sent(bytes)
	if unsent != nil {
		p.out.restore(unsent)
	}
	again := unsent == nil && p.out.head != nil
	p.queued = unsent != nil || again
	p.mu.Unlock()
	s.markStalled(p, unsent != nil)
	switch {
	case unsent != nil:
		s.stalled = append(s.stalled, p)
	case again:
		s.markDirty(p)
	}
}

// markStalled keeps count of the peers that do not take what waits for them.
// The caller holds mu.
func (s *socket) markStalled(p *peer, stalled bool) {
	if p.stalled == stalled {
		return
	}
	p.stalled = stalled
	if stalled {
		s.loop.count.stalled.Add(1)
	} else {
		s.loop.count.stalled.Add(-1)
	}
}

// hasInput is the loop's look at ZMQ_EVENTS before it parks. The look eats the
// edge that says that a stalled peer has room again, so those are tried after
// it: one that refuses then announces its room by an edge to come.
func (s *socket) hasInput() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = s.settled && len(s.stalled) == 0 // what comes with room is to be seen before they are tried
	if s.closed || s.readable() {
		return !s.closed
	}
	if len(s.stalled) == 0 {
		return false
	}
	s.retryStalled(retriesPerFlush)
	return s.readable()
}

// readable looks at ZMQ_EVENTS, unless nothing can have changed since it was found
// empty but what ZMQ_FD still says. The caller holds mu.
func (s *socket) readable() bool {
	if s.settled {
		return false
	}
	s.settled = !s.transfer.readable()
	return !s.settled
}

// close gives the ZeroMQ socket up; libzmq goes on sending what it holds, for
// at most linger.
func (s *socket) close(linger time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.flush()
	s.closed = true
	for _, p := range s.stalled {
		s.markStalled(p, false)
	}
	s.abandon()
	return errors.Join(s.transfer.zs.SetLinger(linger), s.transfer.close(), s.inlet.close(), s.outlet.close())
}

// abandon gives up what still waits for the peers of a socket that is closed. The
// caller holds mu.
func (s *socket) abandon() {
	lost := 0
	if s.lead != nil {
		lost = s.lead.bury(nil)
	}
	for p := s.roster.oldest; p != nil; p = p.newer {
		lost += p.bury(nil)
	}
	s.loop.count.dropped.Add(uint64(lost))
}
