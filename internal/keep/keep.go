// Package keep answers one question: where do bytes go that outlive the memory they
// came in? What is received lies in memory that is used again; what is kept of it is
// copied here, and is the collector's from then on.
package keep

import "bytes"

const (
	// size is how much memory those bytes share. Who keeps some of it keeps it all.
	size = 64 << 10
	// apart is from where on bytes have memory of their own.
	apart = size / 8
)

// Arena is such memory, the zero value one that is ready. It is used by one goroutine
// at a time; what it has returned is anybody's.
type Arena struct{ rest []byte }

// Keep returns a copy of b, which is not nil.
func (a *Arena) Keep(b []byte) []byte {
	n := len(b)
	switch {
	case n == 0:
		return []byte{}
	case n >= apart:
		return bytes.Clone(b)
	case n > len(a.rest):
		a.rest = make([]byte, size)
	}
	kept := a.rest[:n:n]
	a.rest = a.rest[n:]
	copy(kept, b)
	return kept
}
