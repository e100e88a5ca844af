package zmtp

import (
	"errors"
	"testing"
)

func TestGreetingIsItsOwn(t *testing.T) {
	g := Greeting()
	for n := range g {
		if whole, err := CheckGreeting(g[:n]); whole || err != nil {
			t.Errorf("%d bytes: %v, %v", n, whole, err)
		}
	}
	if whole, err := CheckGreeting(g); !whole || err != nil || len(g) != GreetingSize || !AnswersPing(g) {
		t.Errorf("%d bytes: %v, %v", len(g), whole, err)
	}
	g[11] = 0
	if whole, err := CheckGreeting(g); !whole || err != nil || AnswersPing(g) {
		t.Errorf("3.0: %v, %v, answers PING: %v", whole, err, AnswersPing(g))
	}
}

func TestStrangeGreetings(t *testing.T) {
	for name, change := range map[string]func(g []byte) []byte{
		"http":         func([]byte) []byte { return []byte("G") },
		"signature":    func(g []byte) []byte { g[9] = 0; return g[:10] },
		"version 1":    func(g []byte) []byte { g[10] = 1; return g[:11] },
		"version 2":    func(g []byte) []byte { g[10] = 2; return g },
		"CURVE":        func(g []byte) []byte { copy(g[12:], "CURVE"); return g },
		"no mechanism": func(g []byte) []byte { clear(g[12:32]); return g },
		"NULL and so":  func(g []byte) []byte { g[31] = 'x'; return g },
	} {
		if whole, err := CheckGreeting(change(Greeting())); whole || !errors.Is(err, ErrStranger) {
			t.Errorf("%s: %v, %v, want ErrStranger", name, whole, err)
		}
	}
}
