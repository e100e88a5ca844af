package recent

import "hash/maphash"

// Index finds values of a Ring by a key. It keeps their numbers and a part of
// each key's hash, about twenty bytes for a value that a map would need the whole key
// for, and looks at the value itself only where that agrees. It is for one
// goroutine at a time.
type Index[K comparable, V any] struct {
	ring  *Ring[V]
	keyOf func(*V) K
	seed  maphash.Seed
	spots []spot // a power of two of them, at least half of them free; who finds his taken has the next free one
	used  int

	// The tag of number n is at n % len, a power of two: whoever is dropped need not be
	// looked at again, who has long been out of every cache. 0: none was put.
	tags []uint32
}

// spot is a number's low half, or none's.
type spot struct {
	hash   uint32 // its upper part, the lowest bit set where the spot is taken
	number uint32
}

const (
	spotTaken = 1
	spotsMin  = 32
)

// NewIndex returns an index that is empty. keyOf is the key of a value.
func NewIndex[K comparable, V any](ring *Ring[V], keyOf func(*V) K) *Index[K, V] {
	return &Index[K, V]{ring: ring, keyOf: keyOf, seed: maphash.MakeSeed(), spots: make([]spot, spotsMin)}
}

// Find returns the number that was put last for key, and its value; nil where
// there is none.
func (x *Index[K, V]) Find(key K) (*V, uint64) {
	at, _, v := x.find(key)
	if v == nil {
		return nil, 0
	}
	return v, x.number(x.spots[at])
}

// Put has key lead to number n, which the ring keeps, and to no other.
func (x *Index[K, V]) Put(key K, n uint64) {
	at, tag, v := x.find(key)
	if v == nil {
		x.used++
	}
	x.spots[at] = spot{tag, uint32(n)}
	x.note(n, tag)
	if 2*x.used > len(x.spots) {
		x.grow()
	}
}

// note keeps the tag of number n, which the ring keeps.
func (x *Index[K, V]) note(n uint64, tag uint32) {
	if room := len(x.ring.values); len(x.tags) < room {
		tags := make([]uint32, room)
		for old := x.ring.first; old < x.ring.next && len(x.tags) > 0; old++ {
			tags[old%uint64(room)] = x.tags[old%uint64(len(x.tags))]
		}
		x.tags = tags
	}
	x.tags[n%uint64(len(x.tags))] = tag
}

// Forget has key lead to nothing.
func (x *Index[K, V]) Forget(key K) {
	if at, _, v := x.find(key); v != nil {
		x.remove(at)
	}
}

// Drop forgets value n, which the ring still keeps and is about to drop. A key
// that leads to a later one goes on doing so.
func (x *Index[K, V]) Drop(n uint64) {
	if len(x.tags) == 0 {
		return
	}
	noted := &x.tags[n%uint64(len(x.tags))]
	tag := *noted
	if *noted = 0; tag == 0 {
		return
	}
	last := len(x.spots) - 1
	for at := x.home(tag); x.spots[at].hash != 0; at = (at + 1) & last {
		if x.spots[at] == (spot{tag, uint32(n)}) {
			x.remove(at)
			return
		}
	}
}

// remove frees a spot. Whoever comes behind it, up to the next that is free,
// would not be found any more where his way leads over this one.
func (x *Index[K, V]) remove(at int) {
	x.used--
	last := len(x.spots) - 1
	free := at
	for next := (at + 1) & last; x.spots[next].hash != 0; next = (next + 1) & last {
		s := x.spots[next]
		if (next-x.home(s.hash))&last >= (next-free)&last {
			x.spots[free] = s
			free = next
		}
	}
	x.spots[free] = spot{}
}

// Len is for how many keys there is a number.
func (x *Index[K, V]) Len() int { return x.used }

// find is where key is, or would be put, and its value, nil where it has none.
func (x *Index[K, V]) find(key K) (at int, tag uint32, v *V) {
	tag = x.tag(key)
	last := len(x.spots) - 1
	for at = x.home(tag); x.spots[at].hash != 0; at = (at + 1) & last {
		if x.spots[at].hash != tag {
			continue
		}
		if v := x.ring.At(x.number(x.spots[at])); v != nil && x.keyOf(v) == key {
			return at, tag, v
		}
	}
	return at, tag, nil
}

func (x *Index[K, V]) tag(key K) uint32 {
	return uint32(maphash.Comparable(x.seed, key)>>32) | spotTaken
}

// home is where a key's way begins.
func (x *Index[K, V]) home(tag uint32) int { return int(tag>>1) & (len(x.spots) - 1) }

// number is the one that the ring keeps and that s has the low half of.
func (x *Index[K, V]) number(s spot) uint64 {
	return x.ring.first + uint64(s.number-uint32(x.ring.first))
}

func (x *Index[K, V]) grow() {
	old := x.spots
	x.spots = make([]spot, 2*len(old))
	last := len(x.spots) - 1
	for _, s := range old {
		if s.hash == 0 {
			continue
		}
		at := x.home(s.hash)
		for x.spots[at].hash != 0 {
			at = (at + 1) & last
		}
		x.spots[at] = s
	}
}
