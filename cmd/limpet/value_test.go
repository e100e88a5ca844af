package main

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/internal/codec"
)

// TestThereAndBack is JSON that comes back as it went.
func TestThereAndBack(t *testing.T) {
	for _, text := range []string{
		`null`, `true`, `0`, `-1`, `9223372036854775807`, `-9223372036854775808`, `18446744073709551615`,
		`1.0`, `-0.5`, `0.1`, `1e+300`, `5e-324`, `"text"`, `""`, `"<&>\"\\\n\u0000 ünï"`, `[]`, `{}`,
		`[1,[2.5,[null,"a"]],{"b":[]}]`, `{"a":1,"b":{"c":[18446744073709551615,1.0]}}`,
	} {
		v, err := parseJSON([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		packed, _, err := codec.Append(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		back, err := toJSON(packed)
		if err != nil || string(back) != text {
			t.Errorf("%s comes back as %s, %v", text, back, err)
		}
	}
}

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
		got, err := toJSON(packed)
		if err != nil || string(got) != test.want {
			t.Errorf("%v is %s, %v; want %s", test.value, got, err, test.want)
		}
	}
	if got, err := toJSON([]byte{0xd4, 5, 0xff}); err != nil || string(got) != `{"ext":5,"bytes":"/w=="}` {
		t.Errorf("an extension is %s, %v", got, err)
	}
}

func TestNoJSON(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "it is empty",
		" ":                               "it is empty",
		"{":                               "cut short",
		"word":                            "a string wants quotes",
		"1 2":                             "something follows it",
		"[1e999]":                         "1e999 does not fit",
		"18446744073709551616":            "does not fit 64 bits",
		"-9223372036854775809":            "does not fit 64 bits",
		`{"a": [1234567890123456789012]}`: "does not fit 64 bits",
	} {
		if v, err := parseJSON([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", text, v, err, want)
		}
	}
}

// FuzzToJSON is any body: it never panics, and what it accepts is one line.
func FuzzToJSON(f *testing.F) {
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
		text, err := toJSON(b.Bytes)
		if err != nil {
			t.Fatalf("%x: %v", body, err)
		}
		if bytes.ContainsAny(text, "\n\r") {
			t.Fatalf("%q is not one line", text)
		}
	})
}
