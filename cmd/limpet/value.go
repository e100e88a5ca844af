package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/limpet-rpc/limpet/internal/codec"
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
		return number(v.String())
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

func number(s string) (any, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, nil
	}
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return n, nil
	}
	if !strings.ContainsAny(s, ".eE") {
		return nil, fmt.Errorf("integer %s does not fit 64 bits: send it as a float (%s.0) or a string", s, s)
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return nil, fmt.Errorf("number %s does not fit a float of 64 bits", s)
	}
	return f, nil
}

// toJSON writes one MessagePack value, which has been checked to be whole,
// as JSON. What JSON lacks becomes: bytes {"bytes": base64}, a time its RFC
// 3339 text, another extension {"ext": type, "bytes": base64}, NaN and the
// infinities strings, a key that is no string the text of its JSON.
func toJSON(value []byte) ([]byte, error) {
	text, rest, err := appendFirst(nil, value)
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("%d bytes after the value", len(rest))
	}
	return text, err
}

// appendFirst writes the first of the values in b and returns the others.
func appendFirst(dst, b []byte) (out, rest []byte, err error) {
	form, head, follow, err := codec.Peek(b)
	if err != nil {
		return dst, nil, err
	}
	switch form {
	case codec.FormList:
		return appendList(dst, b[head:], follow)
	case codec.FormMap:
		return appendMap(dst, b[head:], follow)
	default:
	}
	if follow > uint64(len(b)-head) {
		return dst, nil, codec.ErrCut
	}
	whole, content, rest := b[:head+int(follow)], b[head:head+int(follow)], b[head+int(follow):]
	switch form {
	case codec.FormBytes:
		dst = appendBytes(dst, content)
	case codec.FormExt:
		dst = appendExt(dst, content)
	default:
		dst, err = appendScalar(dst, whole)
	}
	return dst, rest, err
}

func appendList(dst, rest []byte, items uint64) (_, _ []byte, err error) {
	dst = append(dst, '[')
	for i := range items {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, rest, err = appendFirst(dst, rest); err != nil {
			return dst, nil, err
		}
	}
	return append(dst, ']'), rest, nil
}

func appendMap(dst, rest []byte, pairs uint64) (_, _ []byte, err error) {
	dst = append(dst, '{')
	for i := range pairs {
		if i > 0 {
			dst = append(dst, ',')
		}
		var key []byte
		if key, rest, err = appendFirst(nil, rest); err != nil {
			return dst, nil, err
		}
		if key[0] != '"' {
			key = quote(nil, string(key))
		}
		dst = append(append(dst, key...), ':')
		if dst, rest, err = appendFirst(dst, rest); err != nil {
			return dst, nil, err
		}
	}
	return append(dst, '}'), rest, nil
}

// appendScalar writes nil, a boolean, a number or a string.
func appendScalar(dst, b []byte) ([]byte, error) {
	d := msgpack.NewDecoder(bytes.NewReader(b))
	v, err := d.DecodeInterface()
	if err != nil {
		return dst, err
	}
	switch v := v.(type) {
	case float32:
		return appendFloat(dst, float64(v), 32), nil
	case float64:
		return appendFloat(dst, v, 64), nil
	case string:
		return quote(dst, v), nil
	default: // nil, a boolean or an integer
		text, err := json.Marshal(v)
		return append(dst, text...), err
	}
}

// appendFloat writes a float so that it reads as one again: 3.0, not 3.
func appendFloat(dst []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return quote(dst, strconv.FormatFloat(f, 'g', -1, bits))
	}
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	from := len(dst)
	dst = strconv.AppendFloat(dst, f, format, -1, bits)
	if !bytes.ContainsAny(dst[from:], ".e") {
		dst = append(dst, ".0"...)
	}
	return dst
}

func appendBytes(dst, content []byte) []byte {
	dst = append(dst, `{"bytes":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, content)
	return append(dst, `"}`...)
}

// timestamp is MessagePack's own extension.
const timestamp = -1

func appendExt(dst, content []byte) []byte {
	if int8(content[0]) == timestamp {
		if at, ok := timeOf(content[1:]); ok {
			return quote(dst, at.Format(time.RFC3339Nano))
		}
	}
	dst = fmt.Appendf(dst, `{"ext":%d,"bytes":"`, int8(content[0]))
	dst = base64.StdEncoding.AppendEncode(dst, content[1:])
	return append(dst, `"}`...)
}

// timeOf reads the three forms of a timestamp.
func timeOf(b []byte) (time.Time, bool) {
	switch len(b) {
	case 4:
		return time.Unix(int64(binary.BigEndian.Uint32(b)), 0).UTC(), true
	case 8:
		both := binary.BigEndian.Uint64(b)
		return time.Unix(int64(both&(1<<34-1)), int64(both>>34)).UTC(), true
	case 12:
		return time.Unix(int64(binary.BigEndian.Uint64(b[4:])), int64(binary.BigEndian.Uint32(b))).UTC(), true
	}
	return time.Time{}, false
}

// quote writes a JSON string without the escapes that are for HTML.
func quote(dst []byte, s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) //nolint:errchkjson // a string always encodes
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}

// textOf is the content of a value that is a string or bytes.
func textOf(value []byte) ([]byte, bool) {
	form, head, _, err := codec.Peek(value)
	if err != nil || form != codec.FormString && form != codec.FormBytes {
		return nil, false
	}
	return value[head:], true
}
