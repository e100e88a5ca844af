package wire

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
)

// A plan writes the library's bytes and reads them as the library does, for
// every kind and whatever its fields hold.
func TestPlansAgreeWithTheLibrary(t *testing.T) {
	chance := rand.New(rand.NewPCG(6, 6))
	planned := 0
	for _, k := range Kinds() {
		for i := range 300 {
			m := New(k)
			if m == nil {
				break
			}
			if i > 0 { // the zero message first
				fill(chance, reflect.ValueOf(m).Elem(), "")
			}
			if i%3 == 1 { // the common case: no lists, no maps
				for f := range reflect.TypeOf(m).Elem().NumField() {
					if v := reflect.ValueOf(m).Elem().Field(f); v.Kind() == reflect.Map || v.Kind() == reflect.Slice {
						v.SetZero()
					}
				}
			}
			slow := appendSlowly(nil, m)
			if fast := AppendControl(nil, m); !bytes.Equal(fast, slow) {
				t.Fatalf("%s: %x, the library writes %x", k, fast, slow)
			}
			got := New(k)
			if rest, ok := plans[k].read(slow[1:], address(got), nil); ok && len(rest) == 0 {
				planned++
				if again := appendSlowly(nil, got); !bytes.Equal(again, slow) {
					t.Fatalf("%s: read as %+v, was %+v", k, got, m)
				}
			}
		}
	}
	if planned < 2000 {
		t.Errorf("only %d messages were read by a plan", planned)
	}
}

// Whatever the bytes, the fast way and the slow way accept the same messages.
func FuzzPlans(f *testing.F) {
	for _, m := range controlSamples() {
		f.Add(AppendControl(nil, m))
	}
	f.Fuzz(func(t *testing.T, env []byte) {
		if New(KindOf(env)) == nil {
			return
		}
		fast, fastErr := ParseControl(env)
		slow, slowErr := parseSlowly(env)
		if (fastErr == nil) != (slowErr == nil) {
			t.Fatalf("fast %v, slow %v", fastErr, slowErr)
		}
		if fastErr == nil && !bytes.Equal(appendSlowly(nil, fast), appendSlowly(nil, slow)) {
			t.Fatalf("fast %+v, slow %+v", fast, slow)
		}
	})
}
