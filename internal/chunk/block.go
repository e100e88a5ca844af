package chunk

import (
	"sync"
	"sync/atomic"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Block is the memory of one chunk: room for a frame's head, an envelope's
// length and its header, and then the body. It goes back to its pool when nobody
// holds it.
type Block struct {
	memory []byte // room and body
	refs   atomic.Int32
}

// blockSize is a block with its room: the frame that it makes fits a buffer of
// session.MaxChunk.
const blockSize = session.MaxChunk

var blocks = sync.Pool{New: func() any { return &Block{memory: make([]byte, wire.ChunkRoom, blockSize)} }}

// NewBlock returns an empty block that its caller holds.
func NewBlock() *Block {
	b := blocks.Get().(*Block)
	b.memory = b.memory[:wire.ChunkRoom]
	b.refs.Store(1)
	return b
}

// small returns a block for that body and no more. It belongs to no pool.
func small(body []byte) *Block {
	b := &Block{memory: append(make([]byte, wire.ChunkRoom, wire.ChunkRoom+len(body)), body...)}
	b.refs.Store(1)
	return b
}

// Hold implements session.Memory.
func (b *Block) Hold() { b.refs.Add(1) }

// Drop implements session.Memory.
func (b *Block) Drop() {
	if b.refs.Add(-1) == 0 && cap(b.memory) == blockSize {
		blocks.Put(b)
	}
}

// Body is what it holds.
func (b *Block) Body() []byte { return b.memory[wire.ChunkRoom:] }

// space is where more of the body goes.
func (b *Block) space() []byte { return b.memory[len(b.memory):cap(b.memory)] }

// grow counts n bytes that were put there.
func (b *Block) grow(n int) { b.memory = b.memory[:len(b.memory)+n] }

// Send sends a chunk and drops the hold that the core had for it.
func Send(c *wire.Chunk, send func(to wire.Peer, env []byte) error) error {
	b, ok := c.Mem.(*Block)
	if !ok {
		return send(c.To, append(c.Head.Append(nil), c.Body...))
	}
	defer b.Drop()
	return send(c.To, wire.PutChunk(b.memory, &c.Head))
}
