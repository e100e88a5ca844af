package zmqio

import (
	"crypto/rand"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/limpet-rpc/limpet/internal/zmtp"
)

// Freight, what wire.Freight names, goes by a connection of its own, so that what
// is small waits behind none of it in the kernel:
//
//	ROUTER                                          DEALER
//	  │◄─ READY ───────────── the main link ──────────│
//	  │── READY, X-Limpet-Freight: a token ──────────►│
//	  │      … until there is a block of freight …    │
//	  │◄─ READY, X-Limpet-Freight-For: the token ─────│ a link for its freight
//
// The token tells whose it is: nobody else knows it. Behind a link for freight
// stands a peer of its own, with its own outbox, under the number of the one whose
// freight it is. While there is none, and where the far side is not of this kind,
// freight goes in order with everything else. It ends with its main link, or when
// its DEALER has not used it for a minute; when it
// breaks, what waited for it is lost, which is missed and asked for again, and the
// main link carries freight until there is another.
//
// A round of the loop, or of a sender, reads and writes one slice of it. Where
// anything else comes to this loop, slices are small, and whoever has written several
// gives way to other threads: between two processors that bulk keeps busy a small
// call would wait for the system to take one away.
const (
	freightOf  = "X-Limpet-Freight"
	freightFor = "X-Limpet-Freight-For"

	freightEvery  = int64(10 * time.Second)       // between attempts to have a link for it
	companyStays  = int64(100 * time.Millisecond) // from what came last
	sliceAlone    = 513 << 10                     // the largest chunk is one, with its heads
	sliceBeside   = 65 << 10                      // or eight
	slicesAtATime = 2                             // until the writer gives way

	freightKept = 120 // inspections, a minute, that its DEALER keeps a link for it that is not used
)

var (
	errNoMain = errors.New("zmqio: freight of a connection that is not here, or has a link for it")
	errNoRoom = errors.New("zmqio: no room for links for freight, what is left is for peers")
)

// token is how a link for freight shows whose it is.
type token [16]byte

// ready says what this side is, and what it knows of freight.
func (k *link) ready() {
	switch {
	case k.main != nil:
		k.control = zmtp.AppendReady(k.control, k.socket.kind, zmtp.Property{Key: freightFor, Value: k.main.token[:]})
	case k.socket.lead == nil:
		k.token = new(token)
		_, _ = rand.Read(k.token[:]) // it never fails
		k.control = zmtp.AppendReady(k.control, k.socket.kind, zmtp.Property{Key: freightOf, Value: k.token[:]})
	default:
		k.control = zmtp.AppendReady(k.control, k.socket.kind)
	}
}

// admit takes what the far side's READY says of freight. The caller holds mu.
func (s *socket) admit(k *link, properties []byte) error {
	whose := zmtp.FindProperty(properties, freightFor)
	switch {
	case s.lead != nil && k.main != nil:
		s.hitch(k, k.main)
	case s.lead != nil:
		if t := zmtp.FindProperty(properties, freightOf); len(t) == len(token{}) {
			k.token = (*token)(append([]byte(nil), t...))
		}
	case whose == nil:
		s.tokens[*k.token] = k
	default:
		k.token = nil
		if len(whose) != len(token{}) {
			return errNoMain
		}
		main := s.tokens[token(whose)]
		switch {
		case main == nil || main.peer == nil || main.freight != nil:
			return errNoMain
		case 2*len(s.links) > 3*s.loop.options.MaxPeers:
			return errNoRoom
		}
		main.freight, k.main = k, main
		s.hitch(k, main)
	}
	return nil
}

// hitch has the freight of main's peer go by k. The caller holds mu.
func (s *socket) hitch(k, main *link) {
	p := &peer{id: main.peer.id, socket: s, of: main.peer, link: k}
	k.peer = p
	main.peer.freight.Store(p)
}

// unhitch ends that where k is severed, and severs the link for k's own freight.
// The caller holds mu.
func (s *socket) unhitch(k *link) {
	if k.token != nil && s.tokens[*k.token] == k {
		delete(s.tokens, *k.token)
	}
	if k.freight != nil {
		s.sever(k.freight)
	}
	if k.main == nil {
		return
	}
	if k.main.freight = nil; k.peer != nil {
		k.peer.of.freight.CompareAndSwap(k.peer, nil)
		s.markStalled(k.peer, false)
		s.loop.count.dropped.Add(uint64(k.peer.bury()))
	}
}

// idles reports that a link for freight of this side's making has not been used for
// so long that it is given up; the next block makes another. What the far side sends
// meanwhile is missed, as when a link breaks.
func (k *link) idles() bool {
	return k.main != nil && k.socket.lead != nil && k.unused > freightKept && !k.halfway() &&
		(k.peer == nil || !k.peer.unsent())
}

// self is whose traffic the peer's is.
func (p *peer) self() *peer {
	if p.of != nil {
		return p.of
	}
	return p
}

// wantFreight has a DEALER connect for its freight, unless it has done so or tried
// of late. The peer may be nil. Any goroutine may call it.
func (p *peer) wantFreight() {
	if p == nil || p.socket.lead != p || p.freight.Load() != nil {
		return
	}
	s := p.socket
	now, at := s.loop.elapsed.Load(), s.freightAt.Load()
	if now >= at && s.freightAt.CompareAndSwap(at, now+freightEvery) {
		s.loop.Do(s.dialFreight)
	}
}

// dialFreight begins a connection to where the main link leads. For the loop
// goroutine only.
func (s *socket) dialFreight() {
	s.mu.Lock()
	defer s.mu.Unlock()
	main := s.lead.link
	if s.closed || !s.leaving.IsZero() || main == nil || main.stage != flowing || main.token == nil || main.freight != nil {
		return
	}
	fd, err := again(main.watch.fd)
	if err != nil {
		return
	}
	s.begin(fd, connecting, main)
}

// again begins another connection to where one leads.
func again(leads int) (fd int, err error) {
	at, err := unix.Getpeername(leads)
	if err != nil {
		return -1, err
	}
	family := unix.AF_INET
	switch at.(type) {
	case *unix.SockaddrInet6:
		family = unix.AF_INET6
	case *unix.SockaddrUnix:
		family = unix.AF_UNIX
	}
	if fd, err = newStream(family); err != nil {
		return -1, err
	}
	if err = unix.Connect(fd, at); err != nil && !errors.Is(err, unix.EINPROGRESS) && !errors.Is(err, unix.EINTR) {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// accompanied notes that something else than freight, or credit for it, has come.
func (l *Loop) accompanied() {
	if now := l.elapsed.Load(); l.company.Load() != now {
		l.company.Store(now)
	}
}

// alone reports that nothing has of late.
func (l *Loop) alone() bool { return l.elapsed.Load()-l.company.Load() >= companyStays }

// slice is how much freight a round reads or writes.
func (l *Loop) slice() int {
	if l.alone() {
		return sliceAlone
	}
	return sliceBeside
}

// cut is the first of the pieces, up to so many bytes.
func cut(pieces [][]byte, most int) [][]byte {
	for i, p := range pieces {
		if most -= len(p); most <= 0 {
			pieces[i] = p[:len(p)+most]
			return pieces[:i+1]
		}
	}
	return pieces
}

// carried counts slices since the last time that their writer gave way.
type carried int

// long reports that it is time to.
func (c *carried) long() bool {
	if *c < slicesAtATime {
		return false
	}
	*c = 0
	return true
}
