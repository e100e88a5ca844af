package recent

import (
	"math"
	"math/rand/v2"
	"testing"
)

type keyed struct {
	key  [2]uint64
	name uint64
}

func keyOf(v *keyed) [2]uint64 { return v.key }

// An Index is a map of the latest numbers, whatever is put, replaced and
// dropped, also where the numbers' low half begins anew.
func TestIndexAgainstMap(t *testing.T) {
	for _, from := range []uint64{0, math.MaxUint32 - 500} {
		chance := rand.New(rand.NewPCG(3, from))
		ring := Ring[keyed]{first: from, next: from}
		x := NewIndex(&ring, keyOf)
		want := map[[2]uint64]uint64{}
		for i := range 50_000 {
			key := [2]uint64{chance.Uint64N(600), 7}
			switch {
			case chance.IntN(3) == 0 && ring.Len() > 0, ring.Len() == 1000:
				v, n := ring.Oldest()
				if want[v.key] == n {
					delete(want, v.key)
				}
				x.Drop(n)
				ring.Drop()
			case chance.IntN(20) == 0:
				delete(want, key)
				x.Forget(key)
			default:
				n := ring.Push(keyed{key, uint64(i)})
				want[key] = n
				x.Put(key, n)
			}
			if x.Len() != len(want) {
				t.Fatalf("%d keys, want %d", x.Len(), len(want))
			}
			probe := [2]uint64{chance.Uint64N(600), 7}
			n, has := want[probe]
			if v, got := x.Find(probe); has != (v != nil) || has && (got != n || v.key != probe) {
				t.Fatalf("step %d: %v at %d, want %d, %t", i, v, got, n, has)
			}
		}
		for key, n := range want {
			if v, got := x.Find(key); v == nil || got != n {
				t.Fatalf("%v at %d, want %d", v, got, n)
			}
		}
	}
}

func BenchmarkIndex(b *testing.B) {
	var ring Ring[keyed]
	x := NewIndex(&ring, keyOf)
	chance := rand.New(rand.NewPCG(3, 3))
	b.ReportAllocs()
	for range b.N {
		if ring.Len() == 1<<16 {
			_, n := ring.Oldest()
			x.Drop(n)
			ring.Drop()
		}
		key := [2]uint64{chance.Uint64(), chance.Uint64()}
		if v, _ := x.Find(key); v == nil {
			x.Put(key, ring.Push(keyed{key: key}))
		}
	}
}

func BenchmarkMap(b *testing.B) {
	var ring Ring[keyed]
	x := map[[2]uint64]uint64{}
	chance := rand.New(rand.NewPCG(3, 3))
	b.ReportAllocs()
	for range b.N {
		if ring.Len() == 1<<16 {
			v, _ := ring.Oldest()
			delete(x, v.key)
			ring.Drop()
		}
		key := [2]uint64{chance.Uint64(), chance.Uint64()}
		if _, has := x[key]; !has {
			x[key] = ring.Push(keyed{key: key})
		}
	}
}
