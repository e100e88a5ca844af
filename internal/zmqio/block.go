package zmqio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/limpet-rpc/limpet/internal/wire"
)

const (
	// BlockMin is the size of a body frame from which on a handler that has Blocks
	// is given it as a Block.
	BlockMin = 64 << 10
	// maxBlockBytes bounds the memory of all blocks in this process.
	maxBlockBytes = 512 << 20
	// blockHead is what precedes the envelope in a block's frame: the frame's
	// head and the envelope's length.
	blockHead = wire.HeadSize + 4
)

// ErrBlocks is NewBlock where the blocks of this process have all the memory
// that blocks may have.
var ErrBlocks = fmt.Errorf("zmqio: blocks already hold %d MiB", maxBlockBytes>>20)

// Block is one large envelope in memory that is sent from, or has been received
// into, without a copy. It is used again: whoever holds a reference
// gives it up with Release, and then uses neither the block nor any slice of it.
//
//	NewBlock ──┐                 ┌── Release of the last reference ──→ pool
//	           ├→ held ⟲ Retain ─┤
//	received ──┘       SendBlock └── (the loop has its own until it has sent)
type Block struct {
	memory     []byte
	frame      []byte // in it: head, length, envelope; nil once given back
	references atomic.Int32
}

// NewBlock makes a block for an envelope of size bytes, with one reference. What
// is in it is whatever was there before.
//
// Errors: ErrSize where no envelope has that size, ErrBlocks.
func NewBlock(size int) (*Block, error) {
	if size <= 0 || size > wire.MaxEnvelope {
		return nil, ErrSize
	}
	b := &Block{}
	if !b.allocate(blockHead + size) {
		return nil, ErrBlocks
	}
	b.references.Store(1)
	wire.AppendHead(b.frame[:0])
	b.setLength(size)
	return b, nil
}

func (b *Block) setLength(size int) {
	binary.BigEndian.PutUint32(b.frame[wire.HeadSize:], uint32(size))
}

// Bytes is the envelope, to be written until the block is sent for the first time,
// and to be read until it is released. What precedes an envelope in its frame is
// not the caller's to write.
func (b *Block) Bytes() []byte { return b.frame[blockHead:] }

// Cut shortens the envelope of a block that has not been sent to its first size
// bytes, 1 at least. It panics where there are not as many.
func (b *Block) Cut(size int) {
	if size <= 0 || size > len(b.frame)-blockHead {
		panic(fmt.Sprintf("zmqio: a block of %d bytes is cut to %d", len(b.frame)-blockHead, size))
	}
	b.frame = b.frame[:blockHead+size]
	b.setLength(size)
}

// Retain adds a reference. The caller holds one.
func (b *Block) Retain() { b.references.Add(1) }

// Release gives a reference up. With the last one the memory goes back to the
// pool as soon as what is still to be sent of it has been. It panics where
// there is no reference left. Any goroutine may call it.
func (b *Block) Release() {
	switch n := b.references.Add(-1); {
	case n == 0:
		b.giveBack()
	case n < 0:
		panic("zmqio: a block is released more often than retained")
	}
}

// SendBlock queues the block's envelope for the peer, as a message of its own and
// in order with what Send queues for it, freight with freight. Nothing is copied: the block must not be
// written to any more. It takes a reference of its own, and gives it up when the
// envelope is sent or lost; the caller's stays the caller's, error or not. Like
// Send it never blocks, and any goroutine may call it.
//
// Errors: ErrPeerGone, ErrFull (Options.PeerBuffer bytes wait for this peer),
// ErrClosed, ErrSize (the block was released before).
func (l *Loop) SendBlock(to wire.Peer, b *Block) error {
	if l.closing.Load() {
		return ErrClosed
	}
	if len(b.frame) == 0 {
		return ErrSize
	}
	p := l.directory.find(to)
	if p == nil {
		return ErrPeerGone
	}
	if wire.Freight(b.Bytes()) {
		f := p.freight.Load()
		if f == nil {
			p.wantFreight()
		} else if first, waiting, err := f.enqueueBlock(b, l.options.PeerBuffer); !errors.Is(err, ErrPeerGone) {
			return l.queuedOr(err, f, first, waiting, atOnce)
		}
	}
	first, waiting, err := p.enqueueBlock(b, l.options.PeerBuffer)
	return l.queuedOr(err, p, first, waiting, atOnce)
}

// deliverBlock gives a large frame to a handler that has Blocks, if it holds one
// envelope. Several are copied, for the block is nobody's then, and are still to be
// handed over.
func (l *Loop) deliverBlock(a *arrival) (done bool) {
	envelopes, err := wire.Split(a.body)
	if err == nil {
		env, ok := envelopes.Next()
		if ok && len(env)+blockHead == len(a.body) {
			l.countFrame(a.body)
			l.count.envelopesIn.Add(1)
			if wire.Freight(env) {
				l.directory.find(a.from).wantFreight()
			}
			l.blocks.Block(a.from, env, a.block)
			return true
		}
	}
	a.body = append([]byte(nil), a.body...)
	a.block.Release()
	a.block = nil
	return false
}
