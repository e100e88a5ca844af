package core

import (
	"testing"
	"time"
)

// TestMethods holds what is remembered of methods to what their pool says.
func TestMethods(t *testing.T) {
	p := newPool(Pool{
		Name: "p", Slots: 1, Methods: []string{"*", "add", "get"}, Budget: time.Minute,
		Lends: map[string]bool{"add": true, "hidden": true}, Budgets: map[string]time.Duration{"get": time.Second},
	})
	want := map[string]method{
		"add":    {at: 1, lends: true, budget: time.Minute},
		"get":    {at: 2, budget: time.Second},
		"hidden": {at: -1, lends: true, budget: time.Minute},
		"other":  {at: -1, budget: time.Minute},
		"":       {at: -1, budget: time.Minute},
	}
	for _, name := range []string{"add", "add", "get", "other", "other", "add", "hidden", "", "get"} {
		got := p.method([]byte(name))
		if w := want[name]; string(got.name) != name || got.at != w.at || got.lends != w.lends || got.budget != w.budget {
			t.Errorf("%q: %+v, want %+v", name, *got, w)
		}
	}
	frame := []byte("fresh")
	m := p.method(frame)
	copy(frame, "-----")
	if string(m.name) != "fresh" || p.method([]byte("fresh")) != m {
		t.Errorf("the name of a method that came in a frame is %q", m.name)
	}
}
