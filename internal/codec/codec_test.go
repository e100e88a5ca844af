package codec

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

type inner struct {
	Note string `json:"note,omitempty"`
}

type record struct {
	ID     int64             `json:"id"`
	Name   string            `json:"name"`
	Score  float64           `json:"score"`
	Tags   []string          `json:"tags"`
	Labels map[string]string `json:"labels"`
	Data   []byte            `json:"data"`
	When   time.Time         `json:"when"`
	Inner  *inner            `json:"inner"`
	Any    map[string]any    `json:"any"`
}

func TestRoundTrip(t *testing.T) {
	when := time.Unix(1_700_000_000, 936_000_001) // its nanoseconds begin like a long map
	for _, want := range []any{
		"", "word", strings.Repeat("x", 31), strings.Repeat("x", 32), strings.Repeat("x", 255), strings.Repeat("x", 256), strings.Repeat("x", 1<<16),
		0, -1, int8(-128), int16(300), int32(1 << 30), int64(math.MinInt64), uint8(255), uint64(math.MaxUint64), true, 1.5, float32(2.5),
		[]string{"a", "b"},
		[]int{1, 2, 3},
		map[string]int{"a": 1},
		map[string]string{},
		[3]int{1, 2, 3},
		3 * time.Second,
		record{
			ID: 7, Name: "n", Score: 0.5, Tags: []string{"t"}, Labels: map[string]string{"k": "v"}, Data: []byte{0, 1}, When: when,
			Inner: &inner{"x"}, Any: map[string]any{"a": int64(1)},
		},
	} {
		body, raw, err := Append([]byte("before"), want)
		if err != nil || raw || !bytes.HasPrefix(body, []byte("before")) {
			t.Fatalf("%T: raw %v, %v", want, raw, err)
		}
		got := reflect.New(reflect.TypeOf(want))
		if err := Decode(body[len("before"):], false, got.Interface()); err != nil {
			t.Errorf("%T: %v", want, err)
		} else if !reflect.DeepEqual(got.Elem().Interface(), want) {
			t.Errorf("%+v came back as %+v", want, got.Elem())
		}
	}
}

func TestBytesTravelAsTheyAre(t *testing.T) {
	body, raw, err := Append([]byte("a"), []byte("bc"))
	if err != nil || !raw || string(body) != "abc" {
		t.Fatalf("%q, %v, %v", body, raw, err)
	}
	var b []byte
	var v any
	if err := Decode(body, true, &b); err != nil || string(b) != "abc" {
		t.Errorf("%q, %v", b, err)
	}
	if err := Decode(body, true, &v); err != nil || string(v.([]byte)) != "abc" {
		t.Errorf("%q, %v", v, err)
	}
	var s string
	if err := Decode(body, true, &s); err == nil {
		t.Errorf("bytes became the string %q", s)
	}
	if err := Decode(nil, true, nil); err != nil {
		t.Errorf("nobody wants the value: %v", err)
	}
	if err := Decode([]byte{0xa2, 'h', 'i'}, false, &b); err != nil || string(b) != "hi" {
		t.Errorf("a MessagePack string as bytes: %q, %v", b, err)
	}
}

// A body that was taken as it came goes on as it came.
func TestBodyIsPassedOn(t *testing.T) {
	for _, v := range []any{[]byte("raw"), "text", map[string]any{"n": int64(1)}, nil} {
		body, raw, err := Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		var taken Body
		if err := Decode(body, raw, &taken); err != nil {
			t.Fatal(err)
		}
		got, gotRaw, err := Append([]byte("before"), taken)
		if err != nil || gotRaw != raw || string(got) != "before"+string(body) {
			t.Errorf("%v: %x, raw %t, %v; want %x, raw %t", v, got, gotRaw, err, body, raw)
		}
	}
}

func TestNil(t *testing.T) {
	body, raw, err := Append(nil, nil)
	if err != nil || raw || !bytes.Equal(body, []byte{0xc0}) {
		t.Fatalf("%x, %v, %v", body, raw, err)
	}
	var p *record
	v := any("before")
	if err := Decode(body, false, &p); err != nil || p != nil {
		t.Errorf("%v, %v", p, err)
	}
	if err := Decode(body, false, &v); err != nil || v != nil {
		t.Errorf("%v, %v", v, err)
	}
}

func TestSameValueSameBytes(t *testing.T) {
	labels := map[string]string{}
	loose := map[string]any{}
	for i := range 50 {
		labels[strings.Repeat("k", i+1)] = "v"
		loose[strings.Repeat("k", i+1)] = i
	}
	for _, v := range []any{labels, loose, record{Labels: labels, Any: loose}} {
		want, _, err := Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			if got, _, _ := Append(nil, v); !bytes.Equal(got, want) {
				t.Fatalf("%T: %x, before %x", v, got, want)
			}
		}
	}
}

type bad struct{}

func (*bad) EncodeMsgpack(*msgpack.Encoder) error { panic("boom") }

func (*bad) DecodeMsgpack(*msgpack.Decoder) error { panic("boom") }

func TestPanicsOfMarshalersAreErrors(t *testing.T) {
	if _, _, err := Append(nil, new(bad)); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Error(err)
	}
	if err := Decode([]byte{0xc3}, false, new(bad)); err == nil || !strings.Contains(err.Error(), "boom") {
		t.Error(err)
	}
	if _, _, err := Append(nil, make(chan int)); err == nil {
		t.Error("a channel has no form")
	}
	var s string // what was shared with the panicking one still works
	if err := Decode([]byte{0xa1, 'x'}, false, &s); err != nil || s != "x" {
		t.Error(s, err)
	}
}

// hostile are bodies that claim more than they hold.
func hostile() map[string][]byte {
	return map[string][]byte{
		"nothing":                   {},
		"4 billion items":           {0xdd, 0xff, 0xff, 0xff, 0xff},
		"4 billion pairs":           {0xdf, 0xff, 0xff, 0xff, 0xff},
		"4 GiB of bytes":            {0xc6, 0xff, 0xff, 0xff, 0xff},
		"4 GiB of string":           {0xdb, 0xff, 0xff, 0xff, 0xff},
		"4 GiB of extension":        {0xc9, 0xff, 0xff, 0xff, 0xff, 0xff},
		"nested lists of 4 billion": {0x91, 0xdd, 0xff, 0xff, 0xff, 0xff},
		"4 million deep":            bytes.Repeat([]byte{0x91}, 4<<20),
		"maps 2 million deep":       bytes.Repeat([]byte{0x81, 0xa0}, 2<<20),
		"the code that is none":     {0xc1},
		"something behind it":       {0xc0, 0xc0},
		"a cut integer":             {0xcf, 1},
		"a cut length":              {0xdd, 0xff},
		"a map in an extension":     {0xc7, 5, 1, 0xdf, 0xff, 0xff, 0xff, 0xff},
		"a map in a field":          append([]byte{0x81, 0xa3, 'a', 'n', 'y', 0xc7, 5, 1}, 0xdf, 0xff, 0xff, 0xff, 0xff),
		"a map in a long timestamp": {0xc7, 12, 0xff, 0xdf, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0},
		"a map behind an extension": {0x92, 0xd4, 1, 0xdf, 0xff, 0xff, 0xff, 0xff},
	}
}

// Whatever a body claims, decoding it neither ends the process nor costs much
// more than the body.
func TestHostileBodies(t *testing.T) {
	for name, body := range hostile() {
		for _, v := range []any{
			new(any), new(string), new([]byte), new([]any), new([]int), new([][]string), new(map[string]any), new(map[string]string),
			new(map[string][]record), new(map[any]any), new(record), new(*record), new([]record), new(time.Time), new(int), new(bad),
		} {
			before := allocated()
			err := Decode(body, false, v)
			if grown := allocated() - before; grown > 1<<20 {
				t.Errorf("%s into %T: %d bytes were allocated", name, v, grown)
			}
			if err == nil {
				t.Errorf("%s became the %T %v", name, v, v)
			}
		}
	}
}

// A timestamp is not taken for a map where a map is wanted, whatever its bytes.
func TestTimestampsAreDisarmed(t *testing.T) {
	for _, when := range []time.Time{
		time.Unix(0xdfffffff, 0), time.Unix(1, 0xdf000000>>2), time.Unix(1_700_000_000, 936_000_001), time.Unix(1<<33, 5), time.Unix(-5, 5),
	} {
		body, _, err := Append(nil, map[string]any{"a": when, "b": "\xdf"})
		if err != nil {
			t.Fatal(err)
		}
		var back map[string]time.Time
		only, _, _ := Append(nil, map[string]time.Time{"a": when})
		if err := Decode(only, false, &back); err != nil || !back["a"].Equal(when) {
			t.Errorf("%v came back as %v, %v", when, back["a"], err)
		}
		before := allocated()
		var maps map[string]map[string]any
		if err := Decode(body, false, &maps); err == nil {
			t.Errorf("%v became %v", when, maps)
		}
		if grown := allocated() - before; grown > 1<<20 {
			t.Errorf("%v as a map: %d bytes were allocated", when, grown)
		}
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func TestSkipMeasuresValues(t *testing.T) {
	for _, v := range []any{nil, true, 1, -1, -100, 1 << 40, 1.5, "word", []byte("bytes"), []any{1, "a", []any{}}, map[string]any{"a": 1}, time.Now()} {
		body, err := msgpack.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := Skip(append(body, 1, 2, 3), MaxDepth, MaxItems); err != nil || n != len(body) {
			t.Errorf("%v takes %d bytes, %v, want %d", v, n, err, len(body))
		}
		for cut := range body {
			if _, err := Skip(body[:cut], MaxDepth, MaxItems); !errors.Is(err, ErrCut) {
				t.Errorf("%v cut to %d of %d bytes: %v", v, cut, len(body), err)
			}
		}
	}
	if _, err := Skip([]byte{0x93, 1, 2, 3}, 1, 2); err == nil {
		t.Error("three items where two are allowed")
	}
	if _, err := Skip([]byte{0x91, 0x91, 1}, 1, 2); !errors.Is(err, ErrDeep) {
		t.Error("two deep where one is allowed")
	}
	if _, err := Skip(bytes.Repeat([]byte{0x91}, MaxDepth+1), MaxDepth, 2); err == nil {
		t.Error("deeper than MaxDepth")
	}
}

func FuzzDecode(f *testing.F) {
	seed, _, err := Append(nil, record{ID: 7, Tags: []string{"t"}, When: time.Unix(1, 936_000_001), Any: map[string]any{"a": []any{1, nil, 2.5}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed, false)
	f.Add([]byte("raw"), true)
	for _, body := range hostile() {
		if len(body) < 100 {
			f.Add(body, false)
		}
	}
	f.Fuzz(func(t *testing.T, body []byte, raw bool) {
		for _, v := range []any{new(any), new(record), new([]record), new(map[string]any), new(map[string]string), new([]byte), new(string), new(time.Time)} {
			if Decode(body, raw, v) != nil || raw {
				continue
			}
			again, asBytes, err := Append(nil, reflect.ValueOf(v).Elem().Interface())
			if err != nil {
				t.Fatalf("%T %+v was decoded and does not encode: %v", v, v, err)
			}
			if n, err := Skip(again, MaxDepth+1, MaxItems); err == nil && n != len(again) && !asBytes {
				t.Errorf("%T is encoded as %x", v, again)
			}
		}
	})
}

func BenchmarkAppendDecode(b *testing.B) {
	v := map[string]int{"n": 3}
	b.ReportAllocs()
	for b.Loop() {
		body, raw, err := Append(nil, v)
		if err != nil {
			b.Fatal(err)
		}
		var back map[string]int
		if err := Decode(body, raw, &back); err != nil {
			b.Fatal(err)
		}
	}
}
