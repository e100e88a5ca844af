package prefetch

import (
	"testing"
	"unsafe"
)

type thing struct {
	value [200]byte
	rest  [100]byte
}

// It asks in vain where nothing is, and changes nothing.
func TestAsks(t *testing.T) {
	Of[thing](nil)
	Of(new(struct{}))
	Chan[int](nil)
	Goroutine{}.Soon()
	var none any
	Behind(&none)
	Behind(new(int32)) // no interface
	x := &thing{value: [200]byte{199: 7}}
	Of(x)
	Upto(x, &x.rest)
	Upto(x, x)
	c := make(chan int, 1)
	c <- 8
	Chan(c)
	held := any(x)
	Behind(&held)
	Here().Soon()
	if x.value[199] != 7 || <-c != 8 {
		t.Error("it was changed")
	}
}

// A goroutine is where it was while it does not go deeper, and another is elsewhere.
func TestHere(t *testing.T) {
	mine, again := Here(), Here()
	if mine != again {
		t.Errorf("it is at %+v and then at %+v", mine, again)
	}
	if mine.self == 0 {
		t.Skip("there is no assembly for this processor, where Here is nowhere")
	}
	var local byte
	near := uintptr(unsafe.Pointer(&local))
	if d := int64(near) - int64(mine.stack); d < -4096 || d > 4096 {
		t.Errorf("its stack is %d bytes from where it says", d)
	}
	other := make(chan Goroutine)
	go func() { other <- Here() }()
	if is := <-other; is.self == mine.self {
		t.Error("two goroutines are one")
	}
}
