package chunk

import (
	"sync/atomic"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmqio"
	"github.com/limpet-rpc/limpet/session"
)

// Block is the memory of one chunk: room for its header, and then the body. It
// lies where it is sent from, or, where blocks have all the memory they may
// have and for chunks far below the largest, with the collector. It goes back when
// nobody holds it.
type Block struct {
	large    *zmqio.Block // nil: the collector's
	envelope []byte       // room and body
	most     int          // bytes that the envelope may have
	refs     atomic.Int32 // of the collector's, for the sake of who drops it too often
}

// frameSize is a chunk's frame with what precedes its envelope; memory comes in
// such sizes.
const frameSize = session.MaxChunk

// envelopeSize is the envelope of such a frame.
const envelopeSize = frameSize - wire.HeadSize - 4

// NewBlock returns an empty block that its caller holds.
func NewBlock() *Block {
	if large, err := zmqio.NewBlock(envelopeSize); err == nil {
		return &Block{large: large, envelope: large.Bytes()[:wire.HeaderSize], most: envelopeSize}
	}
	return small(nil, envelopeSize-wire.HeaderSize)
}

// small returns a block of the collector's that begins with that body and has
// room for so many bytes of it.
func small(body []byte, most int) *Block {
	b := &Block{envelope: append(make([]byte, wire.HeaderSize, wire.HeaderSize+most), body...), most: wire.HeaderSize + most}
	b.refs.Store(1)
	return b
}

// Hold implements session.Memory.
func (b *Block) Hold() {
	if b.large != nil {
		b.large.Retain()
		return
	}
	b.refs.Add(1)
}

// Drop implements session.Memory.
func (b *Block) Drop() {
	if b.large != nil {
		b.large.Release()
		return
	}
	if b.refs.Add(-1) < 0 {
		panic("chunk: a block is dropped more often than held")
	}
}

// Body is what it holds.
func (b *Block) Body() []byte { return b.envelope[wire.HeaderSize:] }

// space is where more of the body goes.
func (b *Block) space() []byte { return b.envelope[len(b.envelope):b.most] }

// grow counts n bytes that were put there.
func (b *Block) grow(n int) { b.envelope = b.envelope[:len(b.envelope)+n] }

// empty takes everything out again.
func (b *Block) empty() { b.envelope = b.envelope[:wire.HeaderSize] }

// seal ends the filling.
func (b *Block) seal() {
	if b.large != nil {
		b.large.Cut(len(b.envelope))
	}
}

// Road is what chunks are sent by.
type Road interface {
	Send(to wire.Peer, env []byte) error
	SendBlock(to wire.Peer, b *zmqio.Block) error
}

// Send sends a chunk from where it lies, for the first time, and drops the hold
// that the core had for it.
func Send(c *wire.Chunk, by Road) error {
	b, ok := c.Mem.(*Block)
	if !ok {
		return by.Send(c.To, append(c.Head.Append(nil), c.Body...))
	}
	defer b.Drop()
	c.Head.Append(b.envelope[:0])
	if b.large == nil {
		return by.Send(c.To, b.envelope)
	}
	return by.SendBlock(c.To, b.large)
}

// Received is a block that has come, as cores hold it.
type Received struct{ *zmqio.Block }

// Hold implements session.Memory.
func (r Received) Hold() { r.Retain() }

// Drop implements session.Memory.
func (r Received) Drop() { r.Release() }
