package zmqio

import (
	"bytes"
	"testing"
	"unsafe"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// A block's frame lies far from where in a page its copy at the kernel does.
func TestBlocksAreHalfAPageAside(t *testing.T) {
	noBlocks(t)
	for range 2 { // the second time in memory that was used before
		for _, size := range []int{1, BlockMin, 512 << 10, wire.MaxEnvelope} {
			b := newBlock(t, size, 1)
			if at := uintptr(unsafe.Pointer(&b.frame[0])) % 4096; at != blockShift {
				t.Errorf("a block of %d bytes begins at byte %d of its page", size, at)
			}
			if !bytes.Equal(b.Bytes(), filled(size, 1)) {
				t.Errorf("a block of %d bytes is not what was written", size)
			}
			b.Release()
		}
	}
}

func filled(size int, seed byte) []byte {
	env := make([]byte, size)
	fill(env, seed)
	return env
}
