package prefetch

import "testing"

type thing struct {
	value [200]byte
}

func TestOf(t *testing.T) {
	Of[thing](nil) // asks in vain, and does not fail
	Of(new(struct{}))
	x := &thing{value: [200]byte{199: 7}}
	Of(x)
	if x.value[199] != 7 {
		t.Error("it was changed")
	}
}
