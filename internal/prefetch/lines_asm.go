//go:build amd64 || arm64

package prefetch

// lines asks for n lines, at least one.
func lines(at, n uintptr)

// here is where the calling goroutine is, and its stack.
func here() (self, stack uintptr)
