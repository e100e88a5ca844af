//go:build !race

package zmqio

import (
	"runtime"
	"testing"
)

// What BenchmarkEcho states: a call allocates nothing. The race detector empties pools on purpose, and
// the one for addresses allocates: they are not asked.
func TestCallsAllocateNothing(t *testing.T) {
	const calls = 20_000
	_, endpoint := echo(t, Options{})
	c := newCallers(t, 1, endpoint, Options{})
	call := func(n uint64) {
		if err := c.call(0, n); err != nil {
			t.Fatal(err)
		}
	}
	for n := range uint64(1000) {
		call(n)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for n := range uint64(calls) {
		call(n)
	}
	runtime.ReadMemStats(&after)
	if n := int(after.Mallocs - before.Mallocs); n > calls/50 {
		t.Errorf("%d allocations for %d calls", n, calls)
	}
}
