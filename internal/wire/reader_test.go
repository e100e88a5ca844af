package wire

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

// A Reader returns what ParseControl does, whatever it has read before.
func TestReaderReadsAnew(t *testing.T) {
	r := NewReader(true)
	chance := rand.New(rand.NewPCG(7, 7))
	again := 0
	for i := range 5000 {
		k := Kinds()[chance.IntN(len(Kinds()))]
		m := New(k)
		if m == nil {
			continue
		}
		fill(chance, reflect.ValueOf(m).Elem(), "")
		if i%2 == 0 { // the common case: no lists, no maps
			for f := range reflect.TypeOf(m).Elem().NumField() {
				if v := reflect.ValueOf(m).Elem().Field(f); v.Kind() == reflect.Map || v.Kind() == reflect.Slice {
					v.SetZero()
				}
			}
		}
		env := AppendControl(nil, m)
		want, wantErr := ParseControl(env)
		got, err := r.Control(env)
		if fmt.Sprint(err) != fmt.Sprint(wantErr) || err == nil && !reflect.DeepEqual(got, want) {
			t.Fatalf("%s: %+v, %v, want %+v, %v", k, got, err, want, wantErr)
		}
		if err == nil && r.again(k) == got {
			again++
		}
	}
	if again < 100 {
		t.Errorf("only %d messages were read into the same memory", again)
	}
}

// Texts that share a place are told apart, and those that were kept stay.
func TestWordsAreKeptApart(t *testing.T) {
	var w words
	var texts []string
	for i := range 1000 {
		b := fmt.Appendf(nil, "pool %d", i)
		texts = append(texts, w.text(b))
		clear(b)
	}
	for i, s := range texts {
		if want := fmt.Sprintf("pool %d", i); s != want {
			t.Fatalf("%q, want %q", s, want)
		}
	}
	long := make([]byte, wordMost+1)
	if w.text(long) != string(long) || w.text(nil) != "" {
		t.Error("a long text, or none, is another")
	}
	for _, s := range w.kept {
		if len(s) > wordMost {
			t.Errorf("%d bytes are kept", len(s))
		}
	}
}

// Bytes are copied, unless the reader may keep the message.
func TestReaderKeepsBytes(t *testing.T) {
	for _, keeps := range []bool{false, true} {
		env := AppendControl(nil, &Offer{Epoch: 1, Client: sampleClient, Request: sampleRequest, Pool: "p", Method: "m", Args: []byte("args")})
		r := NewReader(keeps)
		m, err := r.Control(env)
		if err != nil {
			t.Fatal(err)
		}
		args := m.(*Offer).Args
		clear(env)
		if kept := string(args) != "args"; kept != keeps || cap(args) != len(args) && keeps {
			t.Errorf("keeps %t: %q of %d bytes", keeps, args, cap(args))
		}
	}
}
