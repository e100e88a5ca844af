//go:build !race

package zmqio

import (
	"runtime"
	"testing"
)

// What BenchmarkEcho states: a call allocates nothing but its share of two arenas,
// one on each side. The race detector empties pools on purpose, and
// the one for addresses allocates: they are not asked.
func TestCallsAllocateArenasOnly(t *testing.T) {
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
	// Each call is 72 bytes and a head of 2 in both directions.
	arenas := calls * 2 * (72 + 2) / arenaSize
	if n := int(after.Mallocs - before.Mallocs); n > 2*arenas+calls/50 {
		t.Errorf("%d allocations for %d calls, want the %d arenas that they fill and little else", n, calls, arenas)
	}
}
