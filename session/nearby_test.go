package session

import "testing"

func TestNearby(t *testing.T) {
	type thing struct{ id ID }
	x := NewNearby[thing]()
	one, other := &thing{ID{0: 1, 15: 1}}, &thing{ID{0: 2, 15: 1}}
	*x.Place(&one.id) = one
	*x.Place(&other.id) = other
	for _, s := range []*thing{one, other} {
		if got := *x.Place(&s.id); got != s {
			t.Errorf("at the place of %v: %v", s, got)
		}
	}
	seen := 0
	x.Each(func(*thing) { seen++ })
	if seen != 2 {
		t.Errorf("%d are remembered, want 2", seen)
	}
	before := len(x.places)
	x.Fit(before / nearbyShare)
	if *x.Place(&one.id) != one {
		t.Error("forgotten although there was room")
	}
	x.Fit(before/nearbyShare + 1)
	if len(x.places) != 2*before || *x.Place(&one.id) != nil {
		t.Errorf("%d places for %d sessions, and what was there before", len(x.places), before/nearbyShare+1)
	}
}
