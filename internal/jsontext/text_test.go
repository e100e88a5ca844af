package jsontext

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/internal/codec"
)

func TestWhatJSONLacks(t *testing.T) {
	for _, test := range []struct {
		value any
		want  string
	}{
		{math.NaN(), `"NaN"`},
		{math.Inf(-1), `"-Inf"`},
		{float32(0.1), `0.1`},
		{3.0, `3.0`},
		{map[int]string{7: "x"}, `{"7":"x"}`},
		{[]any{[]byte{0, 255}}, `[{"bytes":"AP8="}]`},
		{time.Unix(1, 0).UTC(), `"1970-01-01T00:00:01Z"`},
		{time.Unix(1, 5).UTC(), `"1970-01-01T00:00:01.000000005Z"`},
		{time.Unix(-1, 0).UTC(), `"1969-12-31T23:59:59Z"`},
	} {
		packed, _, err := codec.Append(nil, test.value)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Append(nil, packed)
		if err != nil || string(got) != test.want {
			t.Errorf("%v is %s, %v; want %s", test.value, got, err, test.want)
		}
	}
	if got, err := Append(nil, []byte{0xd4, 5, 0xff}); err != nil || string(got) != `{"ext":5,"bytes":"/w=="}` {
		t.Errorf("an extension is %s, %v", got, err)
	}
}

// FuzzAppend is any body: it never panics, and what it accepts is one line.
func FuzzAppend(f *testing.F) {
	for _, seed := range [][]byte{
		{0xc0}, {0x93, 1, 0xcb, 0}, {0x81, 0xa1, 'a', 0xc4, 1, 2}, {0xd6, 0xff, 0, 0, 0, 1}, {0xc7, 0, 5}, {0xdf, 0xff, 0xff, 0xff, 0xff},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var b codec.Body
		if codec.Decode(body, false, &b) != nil {
			return
		}
		text, err := Append(nil, b.Bytes)
		if err != nil {
			t.Fatalf("%x: %v", body, err)
		}
		if bytes.ContainsAny(text, "\n\r") {
			t.Fatalf("%q is not one line", text)
		}
	})
}

// What comes back from JSON as it went.
func TestThereAndBack(t *testing.T) {
	long := "[" + strings.Repeat("7,", 70_000) + `{"a":1}]`
	for _, text := range []string{
		`null`, `true`, `0`, `-1`, `9223372036854775807`, `-9223372036854775808`, `18446744073709551615`,
		`1.0`, `-0.5`, `0.1`, `1e+300`, `5e-324`, `"text"`, `""`, `"<&>\"\\\n\u0000 ünï"`, `[]`, `{}`, long,
		`[1,[2.5,[null,"a"]],{"b":[]}]`, `{"z":1,"b":{"c":[18446744073709551615,1.0]}}`, `[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]`,
		strings.Repeat("[", codec.MaxDepth) + strings.Repeat("]", codec.MaxDepth),
	} {
		packed, err := AppendPacked([]byte("x"), []byte(text))
		if err != nil {
			t.Errorf("%.100s: %v", text, err)
			continue
		}
		if n, err := codec.Skip(packed[1:], codec.MaxDepth, codec.MaxItems); err != nil || n != len(packed)-1 {
			t.Errorf("%.100s is %.100x, %v", text, packed, err)
		}
		back, err := Append([]byte("y"), packed[1:])
		if err != nil || string(back) != "y"+text {
			t.Errorf("%.100s comes back as %.100s, %v", text, back, err)
		}
	}
}

func TestNoJSON(t *testing.T) {
	for text, want := range map[string]string{
		"": "unexpected EOF", "{": "unexpected EOF", "[1,": "unexpected EOF", `{"a"`: "unexpected EOF", "word": "invalid character", "1 2": "something follows",
		"[1e999]": "1e999 does not fit", "[18446744073709551616]": "does not fit 64 bits", "NaN": "invalid character", "[1}": "invalid character",
		`{1:2}`: "invalid character", `{"a" 1}`: "invalid character", "[1 2]": "invalid character",
		strings.Repeat("[", codec.MaxDepth+1): "nested more than 64 deep",
	} {
		if packed, err := AppendPacked(nil, []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.100q: %x, %v; want %q", text, packed, err, want)
		}
	}
}

// FuzzAppendPacked is any text: what is accepted is one whole value.
func FuzzAppendPacked(f *testing.F) {
	for _, seed := range []string{`null`, `[1,2.5,"a",{"b":[]}]`, `{"a":18446744073709551615}`, `[`, `{"a"`, `1e999`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		packed, err := AppendPacked(nil, text)
		if err != nil {
			return
		}
		if n, err := codec.Skip(packed, codec.MaxDepth, codec.MaxItems); err != nil || n != len(packed) {
			t.Fatalf("%q is %x: %d bytes, %v", text, packed, n, err)
		}
	})
}
