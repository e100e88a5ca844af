// Package recent answers one question: what happened lately? A Ring keeps
// values in the order in which they came, in one piece of memory, so that tens
// of thousands of them cost the garbage collector next to nothing. An Index finds
// them by a key that they hold.
//
// What it does not do: it bounds nothing by itself, knows no time, and takes no
// lock.
package recent

// Ring holds the latest values, numbered from 0 in the order in which they
// came. The zero value is empty. It is for one goroutine at a time.
type Ring[V any] struct {
	values      []V // number n lives at n % len, a power of two
	first, next uint64
}

// Push adds a value and returns its number.
func (r *Ring[V]) Push(v V) uint64 {
	at, n := r.Next()
	*at = v
	return n
}

// Next adds a value, which is zero, and returns where it is and its number. The
// pointer is as good as At's.
func (r *Ring[V]) Next() (*V, uint64) {
	if r.Len() == len(r.values) {
		r.grow()
	}
	n := r.next
	r.next++
	return &r.values[n%uint64(len(r.values))], n
}

// At returns value n, nil once it was dropped or before it came. The pointer is
// good until the next Push or Drop.
func (r *Ring[V]) At(n uint64) *V {
	if n < r.first || n >= r.next {
		return nil
	}
	return &r.values[n%uint64(len(r.values))]
}

// Oldest returns the value that has been here longest, and its number; nil
// where there is none.
func (r *Ring[V]) Oldest() (*V, uint64) { return r.At(r.first), r.first }

// Drop forgets the oldest value.
func (r *Ring[V]) Drop() {
	if v := r.At(r.first); v != nil {
		var none V
		*v = none
		r.first++
	}
}

// Len is how many values are kept.
func (r *Ring[V]) Len() int { return int(r.next - r.first) }

// Backward yields the values from the latest to the oldest.
func (r *Ring[V]) Backward(yield func(*V) bool) {
	for n := r.next; n > r.first; n-- {
		if !yield(r.At(n - 1)) {
			return
		}
	}
}

func (r *Ring[V]) grow() {
	bigger := make([]V, max(16, 2*len(r.values)))
	for n := r.first; n < r.next; n++ {
		bigger[n%uint64(len(bigger))] = *r.At(n)
	}
	r.values = bigger
}
