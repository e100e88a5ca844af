package zmqio

import (
	"sync"
	"sync/atomic"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// peer is one connection's far end: who has spoken on a connection that was
// accepted, or whatever the endpoint of a DEALER leads to.
type peer struct {
	// Fixed after its introduction.
	id     wire.Peer
	socket *socket
	of     *peer // whose freight goes here, see freight.go; nil: a peer

	// freight is where a peer's freight goes, nil where it has no connection of its
	// own. It is set with the socket's mu.
	freight atomic.Pointer[peer]

	// nextDirty links the socket's list of peers with something to send. It
	// belongs to whoever set queued, then to the flusher that took the list.
	nextDirty *peer

	// Guarded by mu, which is held for copies of memory and nothing longer.
	mu     sync.Mutex
	out    outbox
	queued bool // is on the dirty list, or about to be; waiting; or is being flushed
	gone   bool

	// Guarded by the socket's mu.
	link         *link // nil where a DEALER is not connected
	delimiter    bool  // speaks with the empty delimiter of a REQ
	waiting      bool  // queued, and not on the dirty list: its link takes nothing now
	stalled      bool  // does not take what waits
	seen         int64 // last traffic, nanoseconds since the Unix epoch
	listed       bool  // in the roster
	older, newer *peer // neighbours in the roster
}

// enqueue appends env. It reports whether the caller has to put the peer on
// the dirty list, and how many bytes wait now.
func (p *peer) enqueue(env []byte, limit int) (first bool, waiting int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.gone:
		return false, 0, ErrPeerGone
	case !p.out.fits(len(env), limit):
		return false, 0, ErrFull
	}
	p.out.add(env)
	first, p.queued = !p.queued, true
	return first, p.out.bytes, nil
}

// enqueueBlock is enqueue for a frame of its own.
func (p *peer) enqueueBlock(b *Block, limit int) (first bool, waiting int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.gone:
		return false, 0, ErrPeerGone
	case !p.out.fits(len(b.frame), limit):
		return false, 0, ErrFull
	}
	p.out.addBlock(b)
	first, p.queued = !p.queued, true
	return first, p.out.bytes, nil
}

// take hands what waits over to a flusher.
func (p *peer) take() *frame {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.take()
}

// settle ends a flush: bytes have been sent, unsent could not be. It reports
// whether new envelopes have come meanwhile that nobody will send unless the caller
// does.
func (p *peer) settle(bytes int, unsent *frame) (again bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.sent(bytes)
	if unsent != nil {
		p.out.restore(unsent)
		return false
	}
	p.queued = p.out.head != nil
	return p.queued
}

// renew has what waits sent by another connection than the one that broke.
func (p *peer) renew() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.out.again()
}

// unsent reports whether anything is to be sent.
func (p *peer) unsent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.head != nil
}

// begun reports whether the link has taken a part of a message, and not the rest.
func (p *peer) begun() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.head != nil && p.out.head.sent > 0
}

// bury marks the peer as gone and returns how many envelopes were lost with it.
func (p *peer) bury() (lost int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	return p.out.discard()
}
