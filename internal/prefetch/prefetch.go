package prefetch

import "unsafe"

// line is how many bytes memory comes in.
const line = 64

// Worth is of how many sessions not everything is near anyway, so that asking is worth it.
const Worth = 256

// Of asks for what p points to. It does not wait.
func Of[T any](p *T) { At(uintptr(unsafe.Pointer(p)), unsafe.Sizeof(*p)) } //nolint:gosec // an address, and nothing else

// Upto asks for what is at p and behind it, as far as the beginning of end, which is a
// field of the same structure.
func Upto[T, E any](p *T, end *E) {
	from := uintptr(unsafe.Pointer(p))                  //nolint:gosec // likewise
	At(from, max(1, uintptr(unsafe.Pointer(end))-from)) //nolint:gosec // likewise
}

// Chan asks for the head of a channel.
func Chan[T any](c chan T) {
	At(*(*uintptr)(unsafe.Pointer(&c)), channel) //nolint:gosec // a channel is a pointer to its head
}

// Behind asks for the beginning of what the interface holds that p points to.
func Behind[I any](p *I) {
	var two [2]uintptr // the type, and where the value is
	if unsafe.Sizeof(*p) == unsafe.Sizeof(two) {
		At((*[2]uintptr)(unsafe.Pointer(p))[1], 1) //nolint:gosec // likewise
	}
}

// Goroutine is where a goroutine is: a guess, for stacks are moved.
type Goroutine struct{ self, stack uintptr }

// Here is where the calling goroutine is.
func Here() Goroutine {
	self, stack := here()
	return Goroutine{self, stack}
}

// Sizes, in bytes, of what is touched when a goroutine goes on: those of the runtime's
// structures, and how much of its stack, below and above where it was.
const (
	channel      = 96
	goroutine    = 448
	below, above = 512, 128
)

// Soon asks for what is touched when the goroutine goes on. The zero one is nowhere.
func (g Goroutine) Soon() {
	if g.self != 0 {
		At(g.self, goroutine)
		At(g.stack-below, below+above)
	}
}

// At asks for the memory of that size, in bytes, at that address, whatever is there.
func At(at, size uintptr) {
	const within = line - 1
	from, to := at&^within, (at+size+within)&^within
	lines(from, max(1, (to-from)/line))
}
