package wire

import (
	"bytes"
	"testing"
)

// A trace without a trace id, or without a parent, is none.
func TestTraceValid(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(t *Trace)
		valid bool
	}{
		{"as it is", func(*Trace) {}, true},
		{"no flags", func(t *Trace) { t[24] = 0 }, true},
		{"one bit of each id", func(t *Trace) { *t = Trace{15: 1, 23: 1} }, true},
		{"no trace id", func(t *Trace) { clear(t[:16]) }, false},
		{"no parent id", func(t *Trace) { clear(t[16:24]) }, false},
		{"flags alone", func(t *Trace) { *t = Trace{24: 0xff} }, false},
	} {
		trace := sampleTrace
		c.spoil(&trace)
		if trace.Valid() != c.valid {
			t.Errorf("%s: valid is %t", c.name, trace.Valid())
		}
		if (trace.ID() != "") != c.valid {
			t.Errorf("%s: its id is %q", c.name, trace.ID())
		}
		field := trace.Field()
		if c.valid && (!bytes.Equal(field, trace[:]) || TraceOf(field) != trace) || !c.valid && field != nil {
			t.Errorf("%s: as a field it is %x", c.name, field)
		}
	}
	if id := sampleTrace.ID(); id != "0af7651916cd43dd8448eb211c80319c" {
		t.Errorf("the id is %s", id)
	}
	if none := TraceOf(nil); none.Valid() {
		t.Error("a field that is not there is a trace")
	}
}

// What is no trace costs nothing as a field either: most opens are in none.
func TestNoTraceIsNoField(t *testing.T) {
	var none Trace
	var field []byte
	if n := testing.AllocsPerRun(100, func() { field = none.Field() }); n != 0 || field != nil {
		t.Errorf("%v allocations for a field of %d bytes", n, len(field))
	}
}

// A field of a size that no trace has is refused; one of a trace that is none is
// not, but counts as none.
func TestTraceField(t *testing.T) {
	for size, fine := range map[int]bool{0: true, 1: false, TraceSize - 1: false, TraceSize: true, TraceSize + 1: false} {
		m := &Offer{Client: sampleClient, Request: sampleRequest, Pool: "p", Trace: make([]byte, size)}
		got, err := ParseControl(AppendControl(nil, m))
		if (err == nil) != fine {
			t.Errorf("%d bytes: %v", size, err)
		}
		if err == nil {
			if trace := TraceOf(got.(*Offer).Trace); trace.Valid() {
				t.Errorf("%d bytes of zero are a trace", size)
			}
		}
	}
}
