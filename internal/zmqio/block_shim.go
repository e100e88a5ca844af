//go:build !limpet_pure_zmq

package zmqio

/*
#cgo noescape limpet_block_send
#cgo nocallback limpet_block_send
#include "block.h"
*/
import "C"

import "unsafe"

// memory of a block is libzmq's or the pool's in block.c.
type memory struct{ c *C.limpet_block }

// allocate makes the frame, unless blocks have all the memory they may have.
func (b *Block) allocate(size int) bool {
	c := C.limpet_block_new(C.uint32_t(size), maxBlockBytes)
	if c == nil {
		return false
	}
	b.adopt(c, size)
	return true
}

func (b *Block) adopt(c *C.limpet_block, size int) {
	b.memory.c = c
	b.frame = unsafe.Slice((*byte)(C.limpet_block_memory(c)), size)
}

func (b *Block) giveBack() { C.limpet_block_release(b.memory.c) }

// takeBlock makes the part that waits a block, or nil where there are too many.
func (q *port) takeBlock() *Block {
	size := int(q.c.waiting.size)
	c := C.limpet_block_take(q.c, maxBlockBytes)
	if c == nil {
		return nil
	}
	b := &Block{}
	b.references.Store(1)
	b.adopt(c, size)
	return b
}

func (t *transfer) sendBlock(p *peer, f *frame) (verdict, error) {
	identity, size, delimiter := t.address(p)
	return t.verdict(C.limpet_block_send(t.port.c, identity, size, delimiter, f.block.memory.c, C.uint32_t(len(f.buf))))
}

func countBlocks() (blocks, bytes, kept int) {
	now := C.limpet_blocks_now()
	return int(now.count), int(now.bytes), int(now.kept)
}
