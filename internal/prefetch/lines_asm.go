//go:build amd64 || arm64

package prefetch

// lines asks for n lines, at least one.
func lines(at, n uintptr)
