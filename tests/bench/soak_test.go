//go:build !race

package main

import (
	"bytes"
	"testing"
)

// TestPrimesMemoryIsFlat is a tenth of what make soak runs. Resident memory
// means nothing under the race detector, which keeps some of its own: make test
// runs this one without it.
func TestPrimesMemoryIsFlat(t *testing.T) {
	var out, errs bytes.Buffer
	if code := benchMain(t.Context(), []string{"primes-soak", "--requests", "60000", "--check"}, &out, &errs); code != exitOK {
		t.Errorf("exit code %d: %s\n%s", code, errs.String(), out.String())
	}
}
