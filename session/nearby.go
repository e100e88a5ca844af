package session

import "encoding/binary"

// Bounds of Nearby.
const (
	nearbyLeast = 1 << 10 // places there are at least
	nearbyShare = 4       // of them for each session
)

// Nearby remembers where sessions are, beside a map of all of them: each id has one
// place, which holds the session of that id that was put there last, or another's.
// To look there touches far less memory than a map does. It is not safe for concurrent
// use.
type Nearby[S any] struct {
	places []*S // a power of two of them
}

// NewNearby returns one with few places.
func NewNearby[S any]() Nearby[S] { return Nearby[S]{make([]*S, nearbyLeast)} }

// Fit makes room for n sessions, and forgets all where there was too little.
func (x *Nearby[S]) Fit(n int) {
	size := len(x.places)
	for size < n*nearbyShare {
		size *= 2
	}
	if size != len(x.places) {
		x.places = make([]*S, size)
	}
}

// Place is where a session of that id would be, until the next Fit.
func (x *Nearby[S]) Place(id *ID) **S {
	return &x.places[int(binary.LittleEndian.Uint32(id[:]))&(len(x.places)-1)]
}

// Each calls f for every session that is remembered.
func (x *Nearby[S]) Each(f func(*S)) {
	for _, s := range x.places {
		if s != nil {
			f(s)
		}
	}
}
