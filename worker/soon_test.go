package worker

import (
	"testing"
	"unsafe"
)

// What a call touches of its task is three lines of memory, and a task begins with one.
func TestACallTouchesFewLines(t *testing.T) {
	const line = 64
	if unsafe.Sizeof(uintptr(0)) != 8 {
		t.Skip("sizes are those of 64 bits")
	}
	var one task
	if n := unsafe.Offsetof(one.pool); n > 3*line {
		t.Errorf("%d bytes of the task", n)
	}
	if n := unsafe.Sizeof(one); n%line != 0 {
		t.Errorf("a task of %d bytes begins anywhere", n)
	}
}
