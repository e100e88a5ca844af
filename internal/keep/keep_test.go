package keep

import (
	"bytes"
	"testing"
)

// What was kept is a copy, and nobody else's: to append to it or to write to it
// changes nothing that was kept besides.
func TestKeptBytesAreApart(t *testing.T) {
	var a Arena
	var kept, want [][]byte
	from := make([]byte, 2*apart)
	for i := range 300 {
		b := from[:i*31%len(from)]
		for j := range b {
			b[j] = byte(i)
		}
		k := a.Keep(b)
		if k == nil || !bytes.Equal(k, b) {
			t.Fatalf("%d bytes: another %d, nil %t", len(b), len(k), k == nil)
		}
		kept, want = append(kept, k), append(want, bytes.Clone(b))
		_ = append(k, 0xff)
	}
	for i := range kept {
		if !bytes.Equal(kept[i], want[i]) {
			t.Fatalf("the bytes kept %dth have changed", i)
		}
	}
}

func TestKeepAllocatesOnceForMany(t *testing.T) {
	var a Arena
	b := make([]byte, 1024)
	if n := testing.AllocsPerRun(size/len(b)*4, func() { a.Keep(b) }); n > 1.0/8 {
		t.Fatalf("%v allocations for each of %d bytes", n, len(b))
	}
}
