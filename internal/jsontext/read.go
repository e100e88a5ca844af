package jsontext

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/limpet-rpc/limpet/internal/codec"
)

// Number is what a JSON number says: an int64 or uint64, or else a float64.
func Number(s string) (any, error) {
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

// AppendPacked writes one JSON value as MessagePack, without holding more than
// both texts of it. Object keys keep their order.
func AppendPacked(dst, text []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	dst, err := appendNext(dst, d, codec.MaxDepth)
	if err != nil {
		return dst, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return dst, fmt.Errorf("something follows the value at byte %d", d.InputOffset())
	}
	return dst, nil
}

// appendNext writes the decoder's next value.
func appendNext(dst []byte, d *json.Decoder, depth int) ([]byte, error) {
	token, err := d.Token()
	if err != nil {
		return dst, cut(err)
	}
	switch v := token.(type) {
	case json.Delim:
		return appendItems(dst, d, v, depth)
	case json.Number:
		n, err := Number(v.String())
		if err != nil {
			return dst, err
		}
		dst, _, err = codec.Append(dst, n)
		return dst, err
	default: // nil, a boolean, a string
		dst, _, err = codec.Append(dst, v)
		return dst, err
	}
}

// cut names the end of a text that is not at its end.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// longest is the size of the longest head of a list or map, which is left free
// until the items have been counted.
const longest = 5

// appendItems writes a list or object whose opening bracket has been read.
func appendItems(dst []byte, d *json.Decoder, open json.Delim, depth int) ([]byte, error) {
	if depth == 0 {
		return dst, codec.ErrDeep
	}
	at := len(dst)
	dst = append(dst, make([]byte, longest)...)
	items := 0
	for ; d.More(); items++ {
		var err error
		if dst, err = appendNext(dst, d, depth-1); err != nil {
			return dst, err
		}
	}
	if _, err := d.Token(); err != nil {
		return dst, cut(err)
	}
	var head []byte
	if open == '{' {
		head = headOf(items/2, 0x80, 0xde)
	} else {
		head = headOf(items, 0x90, 0xdc)
	}
	copy(dst[at:], head)
	if free := longest - len(head); free > 0 {
		dst = append(dst[:at+len(head)], dst[at+longest:]...)
	}
	return dst, nil
}

// headOf is the head of a list or map of n items: short is the code of one
// without any, long that of one with two bytes of length.
func headOf(n int, short, long byte) []byte {
	switch {
	case n < 16:
		return []byte{short | byte(n)}
	case n < 1<<16:
		return binary.BigEndian.AppendUint16([]byte{long}, uint16(n))
	default:
		return binary.BigEndian.AppendUint32([]byte{long + 1}, uint32(n))
	}
}
