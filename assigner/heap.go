package assigner

// heap is a binary heap whose elements know their own place in it, so that
// any of them can be moved or taken out in O(log n). The place is kept by the
// element as position+1; zero means that it is not in this heap.
type heap[T any] struct {
	all    []T
	before func(a, b T) bool
	place  func(T) *int
}

func (h *heap[T]) len() int { return len(h.all) }
func (h *heap[T]) top() T   { return h.all[0] }

// push adds x, or moves it to where it belongs now if it is already in.
func (h *heap[T]) push(x T) {
	if p := *h.place(x); p != 0 {
		h.move(p - 1)
		return
	}
	h.all = append(h.all, x)
	*h.place(x) = len(h.all)
	h.up(len(h.all) - 1)
}

// drop takes x out; nothing happens if it is not in.
func (h *heap[T]) drop(x T) {
	p := *h.place(x)
	if p == 0 {
		return
	}
	last := len(h.all) - 1
	h.swap(p-1, last)
	var none T
	h.all[last] = none
	h.all = h.all[:last]
	*h.place(x) = 0
	if p-1 < last {
		h.move(p - 1)
	}
}

func (h *heap[T]) move(i int) {
	if !h.down(i) {
		h.up(i)
	}
}

func (h *heap[T]) up(i int) {
	for i > 0 {
		parent := (i - 1) / 2
		if !h.before(h.all[i], h.all[parent]) {
			return
		}
		h.swap(i, parent)
		i = parent
	}
}

func (h *heap[T]) down(i int) (moved bool) {
	for {
		first := 2*i + 1
		if first >= len(h.all) {
			return moved
		}
		if right := first + 1; right < len(h.all) && h.before(h.all[right], h.all[first]) {
			first = right
		}
		if !h.before(h.all[first], h.all[i]) {
			return moved
		}
		h.swap(i, first)
		i, moved = first, true
	}
}

func (h *heap[T]) swap(i, j int) {
	h.all[i], h.all[j] = h.all[j], h.all[i]
	*h.place(h.all[i]), *h.place(h.all[j]) = i+1, j+1
}
