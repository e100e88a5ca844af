package jsontext

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/limpet-rpc/limpet/internal/codec"
)

// Append writes one MessagePack value, which has been checked to be whole, as
// JSON on one line.
func Append(dst, value []byte) ([]byte, error) {
	dst, rest, err := appendFirst(dst, value)
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("%d bytes after the value", len(rest))
	}
	return dst, err
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
		dst = AppendBytes(dst, content)
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
			key = Quote(nil, string(key))
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
		return Quote(dst, v), nil
	default: // nil, a boolean or an integer
		text, err := json.Marshal(v)
		return append(dst, text...), err
	}
}

// appendFloat writes a float so that it reads as one again: 3.0, not 3.
func appendFloat(dst []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return Quote(dst, strconv.FormatFloat(f, 'g', -1, bits))
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

// AppendBytes writes bytes.
func AppendBytes(dst, content []byte) []byte {
	dst = append(dst, `{"bytes":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, content)
	return append(dst, `"}`...)
}

// timestamp is MessagePack's own extension.
const timestamp = -1

func appendExt(dst, content []byte) []byte {
	if int8(content[0]) == timestamp {
		if at, ok := timeOf(content[1:]); ok {
			return Quote(dst, at.Format(time.RFC3339Nano))
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

// Quote writes a JSON string without the escapes that are for HTML.
func Quote(dst []byte, s string) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) //nolint:errchkjson // a string always encodes
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...)
}
