package zmqio

import (
	"sync"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// peer is one connection's far end: an identity behind a ROUTER, or whatever
// the endpoint of a DEALER leads to.
type peer struct {
	// Fixed after its introduction.
	id       wire.Peer
	socket   *socket
	identity []byte // nil behind a DEALER
	key      string // the identity once more, as the roster's key

	// nextDirty links the socket's list of peers with something to send. It
	// belongs to whoever set queued, then to the flusher that took the list.
	nextDirty *peer

	// Guarded by mu, which is held for copies of memory and nothing longer.
	mu     sync.Mutex
	out    outbox
	queued bool // is on the dirty list, on the stalled list, or being flushed
	gone   bool

	// Guarded by the socket's mu.
	delimiter    bool        // speaks with the empty delimiter of a REQ
	connection   *connection // where its last message came from; nil if not watched
	stalled      bool        // has refused a frame that still waits
	seen         int64       // last traffic, nanoseconds since the Unix epoch
	older, newer *peer       // neighbours in the roster
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

// bury marks the peer as gone and returns how many envelopes were lost with it.
func (p *peer) bury(taken *frame) (lost int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ; taken != nil; taken = taken.recycle() {
		lost += taken.envelopes
	}
	p.gone = true
	return lost + p.out.discard()
}
