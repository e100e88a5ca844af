package zmqio

// pieceSize is how much memory received bytes share.
const pieceSize = 64 << 10

// piecesKept is how many pieces a batch leaves to the next.
const piecesKept = 16

// arena is what a loop's connections are read into, one behind the other, until what
// has come has been handed over. Then it is used again, from its beginning, which is
// still near.
type arena struct {
	pieces [][]byte
	at     int    // of pieces: the one that is used
	rest   []byte // of that
}

// room returns what is free, at least so many bytes, which is less than a piece.
func (a *arena) room(least int) []byte {
	if len(a.rest) < least {
		if a.at++; a.at >= len(a.pieces) {
			a.at = len(a.pieces)
			a.pieces = append(a.pieces, make([]byte, pieceSize))
		}
		a.rest = a.pieces[a.at]
	}
	return a.rest
}

// use takes the first n bytes.
func (a *arena) use(n int) { a.rest = a.rest[n:] }

// reuse takes everything back.
func (a *arena) reuse() {
	if len(a.pieces) > piecesKept {
		clear(a.pieces[piecesKept:])
		a.pieces = a.pieces[:piecesKept]
	}
	if len(a.pieces) > 0 {
		a.at, a.rest = 0, a.pieces[0]
	}
}
