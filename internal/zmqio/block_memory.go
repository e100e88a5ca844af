package zmqio

import "sync"

const (
	// keptBlockBytes is how much of what is given back is kept to be used again.
	keptBlockBytes = 16 << 20
	// blockGrain is what sizes are rounded up to, so that memory fits again.
	blockGrain = 64 << 10
	// blockShift is where in a page of memory a frame begins: half a page from where
	// it lies at the kernel, behind the head of its message. Where both are the same
	// but for a few bytes some processors copy at a tenth of their speed, or less.
	blockShift = 2 << 10
	// blockRoom is what a block has for that, besides.
	blockRoom = 8 << 10
	// maxComing bounds the part of maxBlockBytes that frames have which are not
	// whole yet: ten bytes announce a frame, and the rest may never come.
	maxComing = maxBlockBytes / 4
)

// blockMemory is the memory of this process's blocks.
var blockMemory struct {
	mu            sync.Mutex
	blocks, bytes int
	coming        int              // bytes of frames that are not whole yet
	kept          map[int][][]byte // by size
	keptBytes     int
}

// allocate makes the frame, unless blocks have all the memory they may have.
func (b *Block) allocate(size int) bool {
	whole := (size+blockGrain-1)/blockGrain*blockGrain + blockRoom
	m := &blockMemory
	m.mu.Lock()
	if m.bytes+whole > maxBlockBytes {
		m.mu.Unlock()
		return false
	}
	m.blocks++
	m.bytes += whole
	var memory []byte
	if same := m.kept[whole]; len(same) > 0 {
		memory = same[len(same)-1]
		m.kept[whole] = same[:len(same)-1]
		m.keptBytes -= whole
	}
	m.mu.Unlock()
	if memory == nil {
		memory = make([]byte, whole)
	}
	b.memory, b.frame = memory, memory[blockShift:blockShift+size]
	return true
}

// giveBack keeps the memory, or leaves it to the collector where enough is kept.
func (b *Block) giveBack() {
	memory := b.memory
	b.memory, b.frame = nil, nil
	m := &blockMemory
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blocks--
	m.bytes -= len(memory)
	if m.keptBytes+len(memory) > keptBlockBytes {
		return
	}
	if m.kept == nil {
		m.kept = make(map[int][][]byte)
	}
	m.kept[len(memory)] = append(m.kept[len(memory)], memory)
	m.keptBytes += len(memory)
}

// comingBlock makes a block of that size to receive into, or nil where there are
// too many. The caller says by arrived when it is whole, or given up.
func comingBlock(size int) *Block {
	m := &blockMemory
	m.mu.Lock()
	full := m.coming+size > maxComing
	if !full {
		m.coming += size
	}
	m.mu.Unlock()
	if full {
		return nil
	}
	b := &Block{}
	if !b.allocate(size) {
		arrived(size)
		return nil
	}
	b.references.Store(1)
	return b
}

// arrived ends the coming of a block of that size.
func arrived(size int) {
	blockMemory.mu.Lock()
	defer blockMemory.mu.Unlock()
	blockMemory.coming -= size
}

func countBlocks() (blocks, bytes, kept int) {
	m := &blockMemory
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.blocks, m.bytes, m.keptBytes
}
