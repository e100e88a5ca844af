package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/jsontext"
)

// parseJSON reads one JSON value as what becomes the same value in MessagePack:
// integers as int64 or uint64, other numbers as float64.
func parseJSON(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, notJSON(text, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("not one JSON value: something follows it at byte %d", d.InputOffset())
	}
	return numbers(v)
}

func notJSON(text []byte, err error) error {
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return errors.New("not JSON: it is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("not JSON: %.40q is cut short", text)
	default:
		return fmt.Errorf(`not JSON: %.40q: %w; a string wants quotes: '"text"'`, text, err)
	}
}

// numbers replaces every json.Number in v by what it says.
func numbers(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case json.Number:
		return jsontext.Number(v.String())
	case []any:
		for i := range v {
			if v[i], err = numbers(v[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range v {
			if v[k], err = numbers(v[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}

// textOf is the content of a value that is a string or bytes.
func textOf(value []byte) ([]byte, bool) {
	form, head, _, err := codec.Peek(value)
	if err != nil || form != codec.FormString && form != codec.FormBytes {
		return nil, false
	}
	return value[head:], true
}
