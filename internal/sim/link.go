package sim

import (
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// link is the connection of one part's DEALER to a broker's or node's address. The
// DEALER keeps its peer for ever; the ROUTER sees a new one each time the
// connection comes up.
type link struct {
	w      *World
	dealer dealer
	at     router
	peer   wire.Peer // of the router, as the dealer sees it
	hungUp bool      // the dealer has closed it

	up     bool
	gen    int       // connections so far
	router wire.Peer // of the dealer, as the router sees it now
	queue  [][]byte  // what the dealer sent while the connection was down
	life   int       // of the dealer
	last   [2]time.Duration
	cut    [2]cut
}

// dealer is a part that connects.
type dealer interface {
	proc() *process
	receive(from wire.Peer, env []byte)
}

// router is a part that listens: a broker, or a node on the direct path.
type router interface {
	proc() *process
	keep(l *link)
	welcomePeer(l *link) wire.Peer
	cutPeer(peer wire.Peer)
	receive(from wire.Peer, env []byte)
}

// directions.
const (
	toBroker = 0
	toDealer = 1
)

// cut is a partition of one direction.
type cut struct {
	until time.Duration
	hold  bool // what is sent comes when it is over, instead of never
}

// queueMost is a DEALER's high-water mark.
const queueMost = 1000

func (w *World) connect(d dealer, at router, peer wire.Peer) *link {
	l := &link{w: w, dealer: d, at: at, peer: peer, life: d.proc().life}
	at.keep(l)
	l.redial()
	return l
}

// redial brings the connection up once the broker is there.
func (l *link) redial() {
	l.w.after(l.w.chance.between(time.Millisecond, 150*time.Millisecond), func() {
		if l.up || l.over() {
			return
		}
		if !l.at.proc().alive {
			l.redial()
			return
		}
		l.up = true
		l.gen++
		l.router = l.at.welcomePeer(l)
		queue := l.queue
		l.queue = nil
		for _, env := range queue {
			l.send(env)
		}
		l.renewed()
	})
}

// over reports that the dealer is not the one any more that connected.
func (l *link) over() bool {
	p := l.dealer.proc()
	return !p.alive || p.life != l.life || l.hungUp
}

// send takes one envelope from the dealer.
func (l *link) send(env []byte) {
	if !l.up {
		if len(l.queue) < queueMost {
			l.queue = append(l.queue, env)
		}
		return
	}
	gen, life, from := l.gen, l.at.proc().life, l.router
	l.carry(toBroker, env, func(env []byte) {
		if l.at.proc().life != life || (gen != l.gen || !l.up) && l.w.chance.in(0.5) {
			return
		}
		l.at.proc().run(func() { l.at.receive(from, env) })
	})
}

// back takes one envelope from the broker.
func (l *link) back(env []byte) {
	gen := l.gen
	l.carry(toDealer, env, func(env []byte) {
		if l.over() || (gen != l.gen || !l.up) && l.w.chance.in(0.5) {
			return
		}
		l.dealer.proc().run(func() { l.dealer.receive(l.peer, env) })
	})
}

// carry brings an envelope to the far side: late, twice, or not at all.
func (l *link) carry(dir int, env []byte, deliver func([]byte)) {
	w := l.w
	p := &w.plan
	faulty := w.now < p.lossUntil
	delay := p.delay
	if p.jitter > 0 {
		delay += w.chance.skewed(0, p.jitter)
	}
	at := w.now + delay
	if c := l.cut[dir]; w.now < c.until {
		if !c.hold {
			if w.history != nil {
				w.note("%-8s   cut off      %s", l.title(dir), env)
			}
			return
		}
		at = c.until + delay
	}
	if faulty && w.chance.in(p.loss) {
		if w.history != nil {
			w.note("%-8s   lost         %s", l.title(dir), env)
		}
		return
	}
	if faulty && w.chance.in(p.double) {
		copied := append([]byte(nil), env...)
		later := w.chance.skewed(0, time.Second)
		if unflagged(env) {
			later = min(later, p.delay)
		}
		w.at(at+later, func() { deliver(copied) })
	}
	if !p.reorder || !faulty {
		at = max(at, l.last[dir])
		l.last[dir] = at
	}
	w.at(at, func() { deliver(env) })
}

// unflagged reports a call whose client says that it is the first copy of it.
// Brokers believe that, for a connection repeats nothing; so the network here
// must not bring it a second time after its node has run it and gone.
func unflagged(env []byte) bool {
	h, _, err := wire.ParseHeader(env)
	return err == nil && h.Kind == wire.KindCall && h.Flags&wire.FlagAgain == 0
}

func (l *link) title(dir int) string {
	if dir == toBroker {
		return l.dealer.proc().name + ">" + l.at.proc().name
	}
	return l.at.proc().name + ">" + l.dealer.proc().name
}

// reset breaks the connection.
func (l *link) reset() {
	if !l.up {
		return
	}
	l.up = false
	l.at.cutPeer(l.router)
	if !l.over() {
		l.redial()
	}
}

// hangUp closes the connection for good.
func (l *link) hangUp() {
	if l.up {
		l.up = false
		l.at.cutPeer(l.router)
	}
	l.hungUp = true
}

// fall has connections break whose router has ended.
func fall(links []*link) {
	for _, l := range links {
		if l.up {
			l.up = false
			if !l.over() {
				l.redial()
			}
		}
	}
}

// dialled finds the link that a dealer knows by a peer.
func dialled(links []*link, peer wire.Peer) *link {
	if peer == 0 || int(peer) > len(links) {
		return nil
	}
	return links[peer-1]
}
