package zmqio

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmtp"
)

const (
	// batchBytes is about how much a round reads, from one connection or from all that
	// have something together, so that the loop flushes and beats however much there is
	// to receive. Of large frames it may be more.
	batchBytes = 1 << 20
	// acceptsARound is how many connections are accepted at a time.
	acceptsARound = 64
	// senderRounds is how often a sender flushes again for those who lost the
	// try-lock to it, before it leaves the rest to the loop.
	senderRounds = 4
)

// Connections are inspected twice a second. Counting inspections and not time, a
// process that was stopped or starved does not blame others for its own silence.
const (
	inspectEvery = 500 * time.Millisecond
	pingAfter    = 4  // inspections without a byte
	cutAfter     = 24 // likewise, of who answers a PING or is in the middle of a message
	shakeWithin  = 6  // inspections for connecting, greeting and handshake
	pingTTL      = 120
)

// socket is one ROUTER or DEALER: its connections and everything that waits to be
// sent on them. Whoever holds mu may write to them, and the loop reads with it; the
// loop takes mu, senders only try to.
type socket struct {
	// Fixed after construction.
	loop     *Loop
	kind     zmtp.Kind
	endpoint string
	lead     *peer // where a DEALER leads to; nil on a ROUTER

	dirty     atomic.Pointer[peer] // peers with something to send, linked by nextDirty
	freightAt atomic.Int64         // when a DEALER may next connect for its freight, on the loop's clock

	// Owned by the loop.
	dialing dialing // of a DEALER

	// Guarded by mu.
	mu      sync.Mutex
	closed  bool
	leaving time.Time // not zero: the socket closes when nothing is left to send, or then
	ear     watch     // of a ROUTER: what listens
	deaf    bool      // nothing is accepted until the next inspection
	links   map[*link]struct{}
	carried carried
	tokens  map[token]*link // of a ROUTER: that flow, and may have a link for freight
	roster  roster
}

// arrival is one complete message, or what else there is to tell of a connection.
type arrival struct {
	from  wire.Peer
	body  []byte
	block *Block // whose frame body is, or nil
	fault error
	fresh bool // the empty message by which a connection announces itself
	again bool // no message: the connection to from stands again

	opened    bool           // some of the envelopes may have been handed over
	envelopes wire.Envelopes // those that have not
}

func newSocket(l *Loop, kind zmtp.Kind, endpoint string) *socket {
	return &socket{loop: l, kind: kind, endpoint: endpoint, links: make(map[*link]struct{}), tokens: make(map[token]*link)}
}

// accept takes the connections that wait. For the loop goroutine only.
func (s *socket) accept() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range acceptsARound {
		if s.closed || s.deaf || s.ear.fd == 0 {
			return
		}
		fd, err := acceptStream(s.ear.fd)
		switch {
		case err == nil && len(s.links) >= 2*s.loop.options.MaxPeers:
			_ = unix.Close(fd)
		case err == nil:
			s.begin(fd, greeting, nil)
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
		case errors.Is(err, unix.EAGAIN):
			return
		default: // no descriptor or memory to be had now: later
			s.deaf = true
			s.loop.poller.remove(&s.ear)
			return
		}
	}
}

// begin makes a link of a connection, for the freight of main where that is not nil.
// The caller holds mu.
func (s *socket) begin(fd int, stage linkStage, main *link) {
	tune(fd)
	k := &link{socket: s, stage: stage, main: main, control: zmtp.Greeting()}
	leads := s.lead != nil && main == nil
	if leads {
		k.peer = s.lead
	}
	k.watch = watch{fd: fd, link: k}
	if err := s.loop.poller.add(&k.watch, stage == connecting); err != nil {
		s.loop.poller.watches.remove(&k.watch)
		_ = unix.Close(fd)
		if leads {
			s.redial()
		}
		return
	}
	s.links[k] = struct{}{}
	switch {
	case main != nil:
		main.freight = k
	case leads:
		s.lead.link = k
	}
	if stage != connecting {
		s.push(k)
	}
}

// tune sets on purpose what would otherwise be a default of the system's.
func tune(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // none of it is known to unix sockets
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	probe(fd)
}

// read takes what has come on a link. For the loop goroutine only.
func (s *socket) read(k *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || k.stage == severed {
		return
	}
	flowed := k.stage == flowing
	most := s.loop.share
	if k.main != nil {
		most = min(most, s.loop.slice())
	}
	for size, more := 0, true; more && size < most; {
		n, again, err := k.receive()
		if n > 0 && k.stage == flowing { // a handshake has its time as a whole
			k.silent = 0
		}
		size, more = size+n, again
		if err != nil {
			s.cut(k, err)
			return
		}
	}
	k.await()
	if len(k.control) > 0 || flowed != (k.stage == flowing) {
		s.push(k)
	}
}

// writable goes on where the kernel had taken no more, or a connection has come
// to stand. For the loop goroutine only.
func (s *socket) writable(k *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || k.stage == severed {
		return
	}
	if k.stage == connecting {
		if err := connected(k.watch.fd); err != nil {
			s.cut(k, err)
			return
		}
		k.stage, k.silent = greeting, 0
	}
	k.relieve()
	s.push(k)
}

// flows is told that a link's handshake is over. The caller holds mu.
func (s *socket) flows(k *link) {
	if s.lead == nil || k.main != nil {
		return
	}
	s.freightAt.Store(0)
	if s.dialing.stood {
		s.loop.batch = append(s.loop.batch, arrival{from: s.lead.id, again: true})
	} else {
		// The far ROUTER gets an empty message when the connection comes up first:
		// see Greeter, and Renewer for every other time.
		k.control = append(k.control, zmtp.Empty()...)
	}
	s.dialing.stood = true
}

// arrived takes the message that a link has put together. The caller holds mu.
func (s *socket) arrived(k *link) {
	m := &k.message
	k.unused = 0
	known := k.peer != nil
	if !known {
		if err := s.introduce(k); err != nil {
			m.drop()
			s.loop.batch = append(s.loop.batch, arrival{fault: err})
			return
		}
	}
	p := k.peer
	p.delimiter = m.delimiter
	if s.lead == nil {
		s.roster.touch(p.self(), s.loop.now.Load())
	} else {
		s.dialing.interval = 0 // who shakes hands and hangs up is not hammered
	}
	a := arrival{from: p.id, body: m.body, block: m.block, fault: m.fault}
	a.fresh = !known && !m.delimiter && errors.Is(m.fault, ErrNoBody)
	s.loop.batch = append(s.loop.batch, a)
}

// introduce makes a peer of who speaks on a link. The caller holds mu.
func (s *socket) introduce(k *link) error {
	if s.roster.size >= s.loop.options.MaxPeers {
		s.forget(s.roster.oldest)
	}
	p := &peer{socket: s, link: k}
	if err := s.loop.directory.enter(p); err != nil {
		return err
	}
	k.peer = p
	s.roster.add(p, s.loop.now.Load())
	return nil
}

// forget drops a peer and has the loop report it. Its connection stays: if it
// speaks again it is somebody new. Only one that waits for the rest of a message
// does not: nothing else can be said there. The caller holds mu.
func (s *socket) forget(p *peer) {
	if p.link.stage != severed && p.begun() {
		p.link.fail()
	}
	if p.link.freight != nil {
		s.sever(p.link.freight)
	}
	s.roster.remove(p)
	s.markStalled(p, false)
	s.loop.directory.remove(p)
	s.loop.count.dropped.Add(uint64(p.bury()))
	p.link.peer = nil
	s.loop.inbox.addGone(p.id)
	s.loop.wakeIfParked()
}

// cut ends a link. What came by it is delivered, what waited for whoever was
// behind it is lost on a ROUTER and waits for the next connection on a DEALER. The
// caller holds mu. For the loop goroutine only.
func (s *socket) cut(k *link, reason error) {
	if k.offence != nil && k.stage == flowing {
		a := arrival{fault: fmt.Errorf("zmqio: connection cut: %w", k.offence)}
		if k.peer != nil {
			a.from = k.peer.id
		}
		s.loop.count.cut.Add(1)
		s.loop.batch = append(s.loop.batch, a)
	}
	if !errors.Is(reason, io.EOF) && k.peer == nil {
		k.write(nil) // it may be told why
	}
	s.sever(k)
	switch p := k.peer; {
	case k.main != nil:
	case s.lead != nil:
		p.link = nil
		p.renew()
		s.markStalled(p, false)
		s.redial()
	case p != nil:
		s.forget(p)
	}
}

// sever gives a link's descriptor up. The caller holds mu.
func (s *socket) sever(k *link) {
	k.stage = severed
	s.loop.poller.remove(&k.watch)
	_ = unix.Close(k.watch.fd)
	if k.coming.block != nil {
		arrived(len(k.coming.bytes))
		k.coming.block.Release()
	}
	k.coming, k.held = coming{}, nil
	k.message.drop()
	delete(s.links, k)
	s.unhitch(k)
}

// inspect looks after the links: those that are silent are asked whether they are
// there, and cut if they do not say. For the loop goroutine only.
func (s *socket) inspect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	if s.deaf {
		s.deaf = s.loop.poller.add(&s.ear, false) != nil
	}
	for k := range s.links {
		k.silent++
		k.unused++
		switch {
		case k.idles():
			s.cut(k, io.EOF)
		case k.stage != flowing && k.silent > shakeWithin, k.silent > cutAfter && (k.pings || k.halfway()):
			s.cut(k, os.ErrDeadlineExceeded)
		case k.enough > 0 && k.silent >= waitsMost:
			k.await()
		case k.stage == flowing && k.pings && k.silent%pingAfter == 0 && len(k.control) == 0:
			k.control = zmtp.AppendPing(k.control, pingTTL)
			s.push(k)
		}
	}
}

// forgetIdle drops the peers without traffic since then. For the loop goroutine.
func (s *socket) forgetIdle(then int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := s.roster.oldest; p != nil && p.seen < then; p = s.roster.oldest {
		s.forget(p)
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
		long := s.carried.long()
		s.mu.Unlock()
		s.loop.count.framesBySender.Add(sent)
		if long {
			s.loop.manners.giveWay(s.loop.Time())
		}
		early = false
	}
}

// flushAsOwner sends everything that is dirty. For the loop goroutine only.
func (s *socket) flushAsOwner() {
	if s.dirty.Load() == nil {
		return
	}
	s.mu.Lock()
	s.flush()
	long := s.carried.long()
	s.mu.Unlock()
	if long {
		s.loop.manners.giveWay(s.loop.Time())
	}
}

// flush empties the dirty list and returns the number of frames sent. The caller
// holds mu.
func (s *socket) flush() (sent uint64) {
	if s.closed {
		return 0
	}
	var freight *peer // in the order in which it was marked
	for p := s.dirty.Swap(nil); p != nil; {
		next := p.nextDirty
		if p.of == nil {
			sent += s.flushPeer(p)
		} else {
			p.nextDirty, freight = freight, p
		}
		p = next
	}
	if freight == nil {
		return sent
	}
	for p := freight.nextDirty; p != nil; { // one a round, in turns
		next := p.nextDirty
		s.markDirty(p)
		p = next
	}
	if !s.loop.alone() {
		s.carried++
	}
	return sent + s.flushPeer(freight)
}

func (s *socket) flushPeer(p *peer) (sent uint64) {
	p.waiting = true
	if k := p.link; k != nil && k.peer == p && k.stage == flowing && !k.choked {
		return s.push(k)
	}
	return 0 // it is pushed when it flows
}

// push sends what waits for a link and returns the number of frames sent. A peer
// that is on the dirty list, or about to be put there, is left to those who flush,
// and what is said besides messages too where a part of one has gone: it comes
// behind that. The caller holds mu.
func (s *socket) push(k *link) (sent uint64) {
	p := k.peer
	if p == nil || k.stage != flowing || !p.waiting {
		if k.stage != connecting && (p == nil || !p.begun()) {
			k.write(nil)
		}
		return 0
	}
	frames, bytes, envelopes, unsent := k.write(p.take())
	goesOn := unsent != nil && !k.choked && !k.broken // the next slice of freight
	p.waiting = unsent != nil && !goesOn
	if frames > 0 {
		k.unused = 0
		s.countOut(p, frames, bytes, envelopes)
	}
	s.markStalled(p, p.waiting)
	if p.settle(bytes, unsent) || goesOn {
		s.markDirty(p)
	}
	return uint64(frames)
}

func (s *socket) countOut(p *peer, frames, bytes, envelopes int) {
	c := &s.loop.count
	c.framesOut.Add(uint64(frames))
	c.bytesOut.Add(uint64(bytes))
	c.envelopesOut.Add(uint64(envelopes))
	if s.lead == nil {
		s.roster.touch(p.self(), s.loop.now.Load())
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

// leave has the socket close as soon as what waits has been sent, at once where
// its connection does not stand.
func (s *socket) leave(until time.Time) {
	s.mu.Lock()
	s.leaving = until
	s.flush()
	s.mu.Unlock()
	s.flushAsSender(false) // what came meanwhile from senders who lost the lock to this
}

// left reports whether a socket that leaves has nothing more to do.
func (s *socket) left(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed || !s.leaving.IsZero() && (now.After(s.leaving) || !s.unsent())
}

// remains flushes once more and reports whether something is left, also where its
// connection does not stand yet.
func (s *socket) remains() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.flush(); s.dirty.Load() != nil && !s.closed; { // slice by slice
		s.flush()
	}
	return !s.closed && (s.unsent() || s.dirty.Load() != nil || s.lead != nil && s.lead.unsent())
}

// mute ends the listening.
func (s *socket) mute() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ear.fd == 0 {
		return
	}
	if !s.deaf {
		s.loop.poller.remove(&s.ear)
	}
	_ = unix.Close(s.ear.fd)
	s.ear.fd = 0
	if path, found := strings.CutPrefix(s.endpoint, "ipc://"); found && !strings.HasPrefix(path, "@") {
		_ = os.Remove(path)
	}
}

// unsent reports whether anything waits that a connection could take. The caller
// holds mu.
func (s *socket) unsent() bool {
	for k := range s.links {
		if k.stage == flowing && !k.broken && (len(k.control) > 0 || k.peer != nil && k.peer.unsent()) {
			return true
		}
	}
	return false
}

// close gives the socket's descriptors up, and what still waits for its peers.
// For the loop goroutine, or where there is none.
func (s *socket) close() {
	s.mute()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	for k := range s.links {
		if p := k.peer; p != nil {
			s.markStalled(p, false)
		}
		k.finish()
	}
	for k := range s.links {
		s.sever(k)
	}
	lost := 0
	if s.lead != nil {
		lost = s.lead.bury()
	}
	for p := s.roster.oldest; p != nil; p = p.newer {
		lost += p.bury()
	}
	s.loop.count.dropped.Add(uint64(lost))
}
