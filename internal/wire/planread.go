package wire

import (
	"encoding/binary"
	"math"
	"unsafe"
)

// read decodes the struct at p from the front of b, if it is in the form that
// append writes: fields in order, each in its shortest form. Where ok is false
// nothing may be concluded of b, and the struct is half filled.
func (pl *plan) read(b []byte, p unsafe.Pointer, w *words) (rest []byte, ok bool) {
	n, b, ok := readMap(b)
	if !ok {
		return nil, false
	}
	for i := 0; n > 0; i++ {
		if i == len(pl.fields) {
			return nil, false
		}
		f := &pl.fields[i]
		if !f.lead.begins(b) {
			continue
		}
		if b, ok = f.read(b[f.lead.n:], unsafe.Add(p, f.offset), w); !ok {
			return nil, false
		}
		n--
	}
	return b, true
}

func readMap(b []byte) (n int, rest []byte, ok bool) {
	switch {
	case len(b) > 0 && b[0]&0xf0 == 0x80:
		return int(b[0] & 0x0f), b[1:], true
	case len(b) > 2 && b[0] == 0xde:
		return int(binary.BigEndian.Uint16(b[1:])), b[3:], true
	}
	return 0, nil, false
}

func (f *planField) read(b []byte, at unsafe.Pointer, w *words) (rest []byte, ok bool) {
	switch f.kind {
	case planID:
		if len(b) < idSize {
			return nil, false
		}
		*(*[idSize]byte)(at) = [idSize]byte(b)
		return b[idSize:], true
	case planUint:
		n, rest, ok := readUint(b)
		return rest, ok && f.setUint(at, n)
	case planInt:
		n, rest, ok := readUint(b) // what is negative is rare: the library's
		return rest, ok && f.setInt(at, n)
	case planBool:
		if len(b) == 0 || b[0]&^1 != 0xc2 {
			return nil, false
		}
		*(*bool)(at) = b[0] == 0xc3
		return b[1:], true
	case planString:
		s, rest, ok := readText(b)
		*(*string)(at) = w.text(s)
		return rest, ok
	case planBytes:
		s, rest, ok := readBin(b)
		*(*[]byte)(at) = w.bytes(s)
		return rest, ok
	case planStruct:
		return f.rare.sub.read(b, at, w)
	default:
		return nil, false
	}
}

func (f *planField) setUint(at unsafe.Pointer, n uint64) bool {
	switch f.size {
	case 1:
		*(*uint8)(at) = uint8(n)
		return n <= math.MaxUint8
	case 2:
		*(*uint16)(at) = uint16(n)
		return n <= math.MaxUint16
	case 4:
		*(*uint32)(at) = uint32(n)
		return n <= math.MaxUint32
	default:
		*(*uint64)(at) = n
		return true
	}
}

func (f *planField) setInt(at unsafe.Pointer, n uint64) bool {
	if f.size == 1 {
		*(*int8)(at) = int8(n)
		return n <= math.MaxInt8
	}
	*(*int)(at) = int(n)
	return n <= math.MaxInt32
}

func readUint(b []byte) (n uint64, rest []byte, ok bool) {
	switch {
	case len(b) > 0 && b[0] < 1<<7:
		return uint64(b[0]), b[1:], true
	case len(b) > 1 && b[0] == 0xcc:
		return uint64(b[1]), b[2:], true
	case len(b) > 2 && b[0] == 0xcd:
		return uint64(binary.BigEndian.Uint16(b[1:])), b[3:], true
	case len(b) > 4 && b[0] == 0xce:
		return uint64(binary.BigEndian.Uint32(b[1:])), b[5:], true
	case len(b) > 8 && b[0] == 0xcf:
		return binary.BigEndian.Uint64(b[1:]), b[9:], true
	}
	return 0, nil, false
}

func readText(b []byte) (s, rest []byte, ok bool) {
	switch {
	case len(b) > 0 && b[0]&0xe0 == 0xa0:
		return cutAt(b[1:], int(b[0]&0x1f))
	case len(b) > 1 && b[0] == 0xd9:
		return cutAt(b[2:], int(b[1]))
	case len(b) > 2 && b[0] == 0xda:
		return cutAt(b[3:], int(binary.BigEndian.Uint16(b[1:])))
	}
	return nil, nil, false
}

func readBin(b []byte) (s, rest []byte, ok bool) {
	switch {
	case len(b) > 1 && b[0] == 0xc4:
		return cutAt(b[2:], int(b[1]))
	case len(b) > 2 && b[0] == 0xc5:
		return cutAt(b[3:], int(binary.BigEndian.Uint16(b[1:])))
	case len(b) > 4 && b[0] == 0xc6:
		return cutAt(b[5:], int(binary.BigEndian.Uint32(b[1:])))
	}
	return nil, nil, false
}

func cutAt(b []byte, n int) (s, rest []byte, ok bool) {
	if n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}
