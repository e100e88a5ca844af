package prefetch

import "unsafe"

// line is how many bytes memory comes in.
const line = 64

// Of asks for what p points to. It does not wait.
func Of[T any](p *T) { At(uintptr(unsafe.Pointer(p)), unsafe.Sizeof(*p)) } //nolint:gosec // an address, and nothing else

// At asks for the memory of that size, in bytes, at that address, whatever is there.
func At(at, size uintptr) {
	const within = line - 1
	from, to := at&^within, (at+size+within)&^within
	lines(from, max(1, (to-from)/line))
}
