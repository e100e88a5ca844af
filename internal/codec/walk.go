package codec

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Bounds of what is decoded. A decoder believes the lengths it reads and
// recurses as deep as it is told; a value is walked over before it is decoded,
// so that neither can be made to cost more than the bytes that were sent.
const (
	// MaxDepth is how deep values may be nested.
	MaxDepth = 64
	// MaxItems is no bound on a list or map but the bytes that are there.
	MaxItems = 1 << 32
)

// Errors of a value that no decoder may see.
var (
	ErrCut  = errors.New("cut short")
	ErrDeep = fmt.Errorf("nested more than %d deep", MaxDepth)
	ErrCode = errors.New("not MessagePack: code 0xc1")
	ErrExt  = errors.New("extension that is not taken")
)

// Form is what kind of value the first byte of a MessagePack value announces.
type Form uint8

// The forms.
const (
	FormNone Form = iota // 0xc1, which MessagePack never uses
	FormNil
	FormBool
	FormInt
	FormFloat
	FormString
	FormBytes
	FormList
	FormMap
	FormExt
)

var formNames = [...]string{"nothing", "nil", "a boolean", "an integer", "a float", "a string", "bytes", "a list", "a map", "an extension"}

// String is the form as an error says it: a list, an integer.
func (f Form) String() string { return formNames[f] }

// Peek reads the head of the first value in b: its form, how many bytes the
// head takes, and how much follows: bytes of a scalar, string or extension,
// items of a list, pairs of a map.
func Peek(b []byte) (form Form, head int, follow uint64, err error) {
	if len(b) == 0 {
		return FormNone, 0, 0, ErrCut
	}
	switch c := b[0]; {
	case c < 0x80 || c >= 0xe0:
		return FormInt, 1, 0, nil
	case c < 0x90:
		return FormMap, 1, uint64(c & 0x0f), nil
	case c < 0xa0:
		return FormList, 1, uint64(c & 0x0f), nil
	case c < 0xc0:
		return FormString, 1, uint64(c & 0x1f), nil
	case c == 0xc1:
		return FormNone, 0, 0, ErrCode
	default:
		return peekLong(c, b[1:])
	}
}

// long describes the codes 0xc0 to 0xdf: how many bytes of length follow the
// code, or how many bytes of value where there is no length.
var long = [32]struct {
	form   Form
	length int
	value  uint64
}{
	0x00: {FormNil, 0, 0}, 0x02: {FormBool, 0, 0}, 0x03: {FormBool, 0, 0},
	0x04: {FormBytes, 1, 0}, 0x05: {FormBytes, 2, 0}, 0x06: {FormBytes, 4, 0},
	0x07: {FormExt, 1, 1}, 0x08: {FormExt, 2, 1}, 0x09: {FormExt, 4, 1}, // one byte of type
	0x0a: {FormFloat, 0, 4}, 0x0b: {FormFloat, 0, 8},
	0x0c: {FormInt, 0, 1}, 0x0d: {FormInt, 0, 2}, 0x0e: {FormInt, 0, 4}, 0x0f: {FormInt, 0, 8},
	0x10: {FormInt, 0, 1}, 0x11: {FormInt, 0, 2}, 0x12: {FormInt, 0, 4}, 0x13: {FormInt, 0, 8},
	0x14: {FormExt, 0, 2}, 0x15: {FormExt, 0, 3}, 0x16: {FormExt, 0, 5}, 0x17: {FormExt, 0, 9}, 0x18: {FormExt, 0, 17},
	0x19: {FormString, 1, 0}, 0x1a: {FormString, 2, 0}, 0x1b: {FormString, 4, 0},
	0x1c: {FormList, 2, 0}, 0x1d: {FormList, 4, 0},
	0x1e: {FormMap, 2, 0}, 0x1f: {FormMap, 4, 0},
}

func peekLong(c byte, rest []byte) (form Form, head int, follow uint64, err error) {
	d := long[c-0xc0]
	if len(rest) < d.length {
		return d.form, 0, 0, ErrCut
	}
	follow = d.value
	switch d.length {
	case 1:
		follow += uint64(rest[0])
	case 2:
		follow += uint64(binary.BigEndian.Uint16(rest))
	case 4:
		follow += uint64(binary.BigEndian.Uint32(rest))
	}
	return d.form, 1 + d.length, follow, nil
}

// Skip walks over the first value in b and returns how many bytes it takes. It
// refuses a value that is not all there, is nested deeper than depth, or has a
// list or map of more than most items.
func Skip(b []byte, depth int, most uint64) (size int, err error) {
	form, head, follow, err := Peek(b)
	if err != nil {
		return 0, err
	}
	switch form {
	case FormList, FormMap:
		return skipItems(b, head, form, follow, depth, most)
	default:
		if follow > uint64(len(b)-head) {
			return 0, fmt.Errorf("%w: %s of %d bytes, %d are there", ErrCut, form, follow, len(b)-head)
		}
		return head + int(follow), nil
	}
}

func skipItems(b []byte, head int, form Form, items uint64, depth int, most uint64) (size int, err error) {
	if items > most {
		return 0, fmt.Errorf("%s of %d items, at most %d", form, items, most)
	}
	if items > uint64(len(b)-head) { // each takes a byte at least
		return 0, fmt.Errorf("%w: %s of %d items in %d bytes", ErrCut, form, items, len(b)-head)
	}
	if depth <= 0 {
		return 0, ErrDeep
	}
	if form == FormMap {
		items *= 2
	}
	size = head
	for range items {
		n, err := Skip(b[size:], depth-1, most)
		if err != nil {
			return 0, err
		}
		size += n
	}
	return size, nil
}

// map32 is the code of a map whose length takes four bytes.
const map32 = 0xdf

// disarm returns a value that was walked over in a form that is safe to
// decode. Where a map is wanted and an extension comes, the decoder takes the
// extension's content for the map, with a length that nobody has looked at. So
// no content may begin like a long map: a timestamp that does is written the
// long way, in which none can; any other extension is refused.
func disarm(b []byte) ([]byte, error) {
	if bytes.IndexByte(b, map32) < 0 {
		return b, nil
	}
	var out []byte
	copied := 0
	for at := 0; at < len(b); {
		form, head, follow, err := Peek(b[at:])
		if err != nil {
			return nil, err
		}
		if form == FormList || form == FormMap { // its items come next
			at += head
			continue
		}
		end := at + head + int(follow)
		if content := b[at+head : end]; form == FormExt && len(content) > 1 && content[1] == map32 {
			long, err := longTimestamp(content)
			if err != nil {
				return nil, err
			}
			out = append(append(out, b[copied:at]...), long...)
			copied = end
		}
		at = end
	}
	if copied == 0 {
		return b, nil
	}
	return append(out, b[copied:]...), nil
}

// longTimestamp writes a timestamp of four or eight bytes as one of twelve:
// nanoseconds, then seconds.
func longTimestamp(content []byte) ([]byte, error) {
	const timestamp = 0xff
	var nanos uint32
	var seconds uint64
	switch {
	case content[0] == timestamp && len(content) == 1+4:
		seconds = uint64(binary.BigEndian.Uint32(content[1:]))
	case content[0] == timestamp && len(content) == 1+8:
		both := binary.BigEndian.Uint64(content[1:])
		nanos, seconds = uint32(both>>34), both&(1<<34-1)
	default:
		return nil, fmt.Errorf("%w: type %d of %d bytes", ErrExt, int8(content[0]), len(content)-1)
	}
	long := binary.BigEndian.AppendUint32([]byte{0xc7, 12, timestamp}, nanos)
	return binary.BigEndian.AppendUint64(long, seconds), nil
}
