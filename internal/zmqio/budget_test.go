package zmqio

import (
	"net"
	"testing"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// taker is a desk that has Blocks.
type taker struct {
	desk
	take func(env []byte) // or nil
}

func (b *taker) Block(_ wire.Peer, env []byte, block *Block) {
	if b.take != nil {
		b.take(env)
	}
	block.Release()
}

// Whoever announces large frames and does not send them takes no block from others.
func TestAnnouncedFramesTakeNoBlocks(t *testing.T) {
	l := idleLoopOf(t, &taker{})
	s := listening(l)
	var links []*link
	var fars []net.Conn
	const size = wire.MaxFrame
	for range maxBlockBytes/size + 2 {
		k, far := standing(t, s)
		say(t, far, []byte{2, 0, 0, 0, 0, size >> 24, size >> 16 & 0xff, size >> 8 & 0xff, size & 0xff, 'L'})
		s.read(k)
		links, fars = append(links, k), append(fars, far)
	}
	b, err := NewBlock(wire.MaxEnvelope)
	if err != nil {
		t.Fatalf("%d connections have sent 10 bytes each: %v", len(links), err)
	}
	b.Release()
	for i, k := range links { // what they had is given back
		_ = fars[i].Close()
		s.read(k)
	}
	if blocks, _, _ := countBlocks(); blocks != 0 {
		t.Errorf("%d blocks are still held", blocks)
	}
}
