package recent

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestAgainstSlice(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 2))
	var r Ring[int]
	var want []int
	dropped := uint64(0)
	for range 20_000 {
		if chance.IntN(5) < 3 {
			v := chance.Int()
			if n := r.Push(v); n != dropped+uint64(len(want)) {
				t.Fatalf("pushed as %d, want %d", n, dropped+uint64(len(want)))
			}
			want = append(want, v)
		} else if r.Drop(); len(want) > 0 {
			want = want[1:]
			dropped++
		}
		if r.Len() != len(want) {
			t.Fatalf("%d values, want %d", r.Len(), len(want))
		}
		if v, n := r.Oldest(); len(want) == 0 && v != nil || len(want) > 0 && (*v != want[0] || n != dropped) {
			t.Fatalf("oldest %v at %d, want %v at %d", v, n, want[:min(1, len(want))], dropped)
		}
	}
	if r.At(dropped-1) != nil || r.At(dropped+uint64(len(want))) != nil {
		t.Error("a dropped number, or one to come, has a value")
	}
	var back []int
	for v := range r.Backward {
		back = append(back, *v)
	}
	slices.Reverse(back)
	if !slices.Equal(back, want) {
		t.Error("Backward yields something else")
	}
}
