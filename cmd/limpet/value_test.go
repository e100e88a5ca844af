package main

import (
	"strings"
	"testing"

	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/jsontext"
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
		back, err := jsontext.Append(nil, packed)
		if err != nil || string(back) != text {
			t.Errorf("%s comes back as %s, %v", text, back, err)
		}
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
