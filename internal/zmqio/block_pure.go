//go:build limpet_pure_zmq

package zmqio

import "sync/atomic"

// memory of a block is ordinary memory where there is nothing but the binding,
// which copies what it sends; so only the program's references count.
type memory struct{ size int }

var blocksNow struct{ count, bytes atomic.Int64 }

// allocate makes the frame, unless blocks have all the memory they may have.
func (b *Block) allocate(size int) bool {
	if !b.claim(size) {
		return false
	}
	b.frame = make([]byte, size)
	return true
}

func (b *Block) claim(size int) bool {
	if blocksNow.bytes.Add(int64(size)) > maxBlockBytes {
		blocksNow.bytes.Add(-int64(size))
		return false
	}
	b.memory.size = size
	blocksNow.count.Add(1)
	return true
}

func (b *Block) giveBack() {
	blocksNow.bytes.Add(-int64(b.memory.size))
	blocksNow.count.Add(-1)
}

// blockOf makes a block of a received part, or nil where there are too many.
func blockOf(frame []byte) *Block {
	b := &Block{frame: frame}
	if !b.claim(len(frame)) {
		return nil
	}
	b.references.Store(1)
	return b
}

func countBlocks() (blocks, bytes, kept int) {
	return int(blocksNow.count.Load()), int(blocksNow.bytes.Load()), 0
}
