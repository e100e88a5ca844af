package cache

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

func TestNamespacesAreApart(t *testing.T) {
	s := newStore(Config{Bytes: 1 << 20, Value: 100})
	for i, a := range []ask{{Key: "k"}, {Scope: "a", Key: "k"}, {Scope: "ak", Key: "k"}, {Scope: "a", Key: "kk"}, {Key: "ak"}, {Key: "1:ak"}} {
		if r := s.get(a); r.Verdict != missing {
			t.Errorf("entry %d is there before it was set", i)
		}
		a.Value = []byte{byte(i)}
		s.set(a)
		if r := s.get(a); r.Verdict != done || r.Value[0] != byte(i) {
			t.Errorf("entry %d: %+v", i, r)
		}
	}
	if n := s.stats().Entries; n != 6 {
		t.Errorf("%d entries, want 6", n)
	}
}

// However much is set, no more is kept than there is room for, and what is read
// all the time stays.
func TestBoundedByBytes(t *testing.T) {
	s := newStore(Config{Bytes: 1 << 20, Value: 1 << 18})
	s.set(ask{Key: "hot", Value: []byte("x")})
	for i := range 10_000 {
		s.get(ask{Key: "hot"})
		s.set(ask{Key: fmt.Sprint(i), Value: make([]byte, 4000)})
	}
	st := s.stats()
	if st.Bytes > st.Limit || st.Limit != 1<<20 || st.Entries < 200 {
		t.Errorf("%+v", st)
	}
	if r := s.get(ask{Key: "hot"}); r.Verdict != done {
		t.Error("the entry that was read 10,000 times has made room")
	}
}

func TestLimits(t *testing.T) {
	s := newStore(Config{Bytes: 1 << 20, Value: 100})
	for _, test := range []struct {
		ask  ask
		want error
		says string
	}{
		{ask{Key: "k", Value: make([]byte, 101)}, ErrTooLarge, "value of 101 bytes, at most 100"},
		{ask{}, session.ErrBadArgument, "key of 0 bytes"},
		{ask{Key: string(make([]byte, MaxKey+1))}, session.ErrBadArgument, "key of 1025 bytes"},
		{ask{Scope: string(make([]byte, MaxKey+1)), Key: "k"}, session.ErrBadArgument, "namespace of 1025"},
	} {
		for name, f := range map[string]func(ask) answer{"set": s.set, "swap": s.swap, "get": s.get, "delete": s.delete} {
			r := f(test.ask)
			err := r.err(&test.ask)
			if !errors.Is(err, test.want) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s: %v, want %v: %s", name, err, test.want, test.says)
			}
		}
	}
	if n := s.stats().Entries; n != 0 {
		t.Errorf("%d entries after nothing that was right", n)
	}
	for _, c := range []Config{{}, {Pool: "p", Bytes: 1}, {Pool: "p", Value: MaxValue + 1}, {Pool: "p", Bytes: 100, Value: 26}, {Pool: "p", Value: -1}} {
		if _, err := Pool(c); err == nil {
			t.Errorf("%+v makes a cache", c)
		}
	}
}

func TestSwap(t *testing.T) {
	s := newStore(Config{Bytes: 1 << 20, Value: 100})
	k := func(version uint64, value string) ask {
		return ask{Key: "k", Version: version, Value: []byte(value)}
	}
	if r := s.swap(k(7, "x")); r.Verdict != missing {
		t.Errorf("a version of what is missing: %+v", r)
	}
	first := s.swap(k(0, "one"))
	if first.Verdict != done || first.Version == 0 {
		t.Errorf("the first: %+v", first)
	}
	if r := s.swap(k(0, "x")); r.Verdict != conflict || r.Version != first.Version {
		t.Errorf("one that wants it missing: %+v", r)
	}
	second := s.swap(k(first.Version, "two"))
	if r := s.swap(k(first.Version, "x")); r.Verdict != conflict || r.Version != second.Version || second.Version == first.Version {
		t.Errorf("an old version: %+v, the second was %+v", r, second)
	}
	if r := s.get(k(0, "")); string(r.Value) != "two" {
		t.Errorf("it is %q", r.Value)
	}
}

// What is over is missing for every operation, and gives its bytes back.
func TestOver(t *testing.T) {
	s := newStore(Config{Bytes: 1 << 20, Value: 100})
	over := func(key string) ask {
		s.entries.Set((&ask{Key: key}).place(), entry{value: []byte("x"), version: 3, until: time.Now()})
		return ask{Key: key}
	}
	if r := s.get(over("get")); r.Verdict != missing {
		t.Errorf("get: %+v", r)
	}
	if r := s.delete(over("delete")); r.Verdict != missing {
		t.Errorf("delete: %+v", r)
	}
	if n := s.stats().Entries; n != 0 {
		t.Errorf("%d entries, want none", n)
	}
	a := over("swap")
	a.Version = 3
	if r := s.swap(a); r.Verdict != missing {
		t.Errorf("swap: %+v", r)
	}
	a.Version = 0
	if r := s.swap(a); r.Verdict != done {
		t.Errorf("swap of what is missing: %+v", r)
	}
	s.set(ask{Key: "soon", Millis: time.Hour.Milliseconds()})
	if r := s.get(ask{Key: "soon"}); r.Verdict != done {
		t.Errorf("what has an hour left: %+v", r)
	}
}
