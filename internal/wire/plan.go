package wire

import (
	"encoding/binary"
	"reflect"
	"strings"
	"unsafe"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/session"
)

// A plan encodes and decodes one control message without reflection: opens,
// offers and their answers are a session's whole cost where sessions are
// short. It writes what the MessagePack library writes, byte for byte, and
// reads what it wrote itself; whatever is in any other form, allowed or not, is
// left to the library and the checks around it.
type plan struct {
	fields []planField
	whole  bool // every field is of a kind that a plan knows
}

type planKind uint8

const (
	planOther planKind = iota // a list or a map: only its absence is known
	planID                    // 16 bytes
	planUint
	planInt
	planBool
	planString
	planBytes
	planStruct
)

type planField struct {
	key    []byte // as encoded
	kind   planKind
	omit   bool // left out when it is zero
	offset uintptr
	size   uintptr
	typ    reflect.Type
	sub    *plan
}

var plans = func() map[Kind]*plan {
	all := map[Kind]*plan{}
	for _, k := range Kinds() {
		if m := New(k); m != nil {
			all[k] = planOf(reflect.TypeOf(m).Elem())
		}
	}
	return all
}()

func planOf(t reflect.Type) *plan {
	p := &plan{whole: true}
	for f := range t.Fields() {
		name, rest, _ := strings.Cut(f.Tag.Get("msgpack"), ",")
		field := planField{
			key: appendText(nil, name), kind: planKindOf(f.Type), omit: rest == "omitempty",
			offset: f.Offset, size: f.Type.Size(), typ: f.Type,
		}
		if field.kind == planStruct {
			field.sub = planOf(f.Type)
			p.whole = p.whole && field.sub.whole
		}
		if field.kind == planOther && !field.omit {
			p.whole = false
		}
		p.fields = append(p.fields, field)
	}
	return p
}

func planKindOf(t reflect.Type) planKind {
	switch t {
	case reflect.TypeFor[uuid.UUID](), reflect.TypeFor[session.Key]():
		return planID
	case reflect.TypeFor[[]byte]():
		return planBytes
	}
	switch t.Kind() {
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return planUint
	case reflect.Int, reflect.Int8:
		return planInt
	case reflect.Bool:
		return planBool
	case reflect.String:
		return planString
	case reflect.Struct:
		return planStruct
	default:
		return planOther
	}
}

// append encodes the struct at p; ok is false where it holds what the plan does
// not know.
func (pl *plan) append(dst []byte, p unsafe.Pointer) (out []byte, ok bool) {
	n := 0
	for i := range pl.fields {
		f := &pl.fields[i]
		if f.kind == planOther && !f.absent(p) {
			return dst, false
		}
		if !f.omit || !f.absent(p) {
			n++
		}
	}
	if n < 16 {
		dst = append(dst, 0x80|byte(n))
	} else {
		dst = append(dst, 0xde, 0, byte(n))
	}
	for i := range pl.fields {
		f := &pl.fields[i]
		if f.omit && f.absent(p) {
			continue
		}
		if dst, ok = f.append(append(dst, f.key...), unsafe.Add(p, f.offset)); !ok {
			return dst, false
		}
	}
	return dst, true
}

// absent reports whether the field of the struct at p is its zero value, or an
// empty list or map.
func (f *planField) absent(p unsafe.Pointer) bool {
	at := unsafe.Add(p, f.offset)
	switch f.kind {
	case planString:
		return *(*string)(at) == ""
	case planBytes:
		return len(*(*[]byte)(at)) == 0
	case planBool:
		return !*(*bool)(at)
	case planUint:
		return f.uint(at) == 0
	case planInt:
		return f.int(at) == 0
	case planOther:
		return reflect.NewAt(f.typ, at).Elem().Len() == 0
	default:
		return false
	}
}

func (f *planField) append(dst []byte, at unsafe.Pointer) ([]byte, bool) {
	switch f.kind {
	case planID:
		id := (*[16]byte)(at)
		return append(append(dst, 0xc4, 16), id[:]...), true
	case planUint:
		return appendUint(dst, f.uint(at)), true
	case planInt:
		return appendInt(dst, f.int(at)), true
	case planBool:
		if *(*bool)(at) {
			return append(dst, 0xc3), true
		}
		return append(dst, 0xc2), true
	case planString:
		return appendText(dst, *(*string)(at)), true
	case planBytes:
		return appendBin(dst, *(*[]byte)(at)), true
	case planStruct:
		return f.sub.append(dst, at)
	default:
		return dst, false
	}
}

func (f *planField) uint(at unsafe.Pointer) uint64 {
	switch f.size {
	case 1:
		return uint64(*(*uint8)(at))
	case 2:
		return uint64(*(*uint16)(at))
	case 4:
		return uint64(*(*uint32)(at))
	default:
		return *(*uint64)(at)
	}
}

func (f *planField) int(at unsafe.Pointer) int64 {
	if f.size == 1 {
		return int64(*(*int8)(at))
	}
	return int64(*(*int)(at))
}

func appendUint(dst []byte, n uint64) []byte {
	switch {
	case n < 1<<7:
		return append(dst, byte(n))
	case n < 1<<8:
		return append(dst, 0xcc, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, 0xcd), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, 0xce), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, 0xcf), n)
	}
}

func appendInt(dst []byte, n int64) []byte {
	switch {
	case n >= 0:
		return appendUint(dst, uint64(n))
	case n >= -1<<5:
		return append(dst, byte(n))
	case n >= -1<<7:
		return append(dst, 0xd0, byte(n))
	case n >= -1<<15:
		return binary.BigEndian.AppendUint16(append(dst, 0xd1), uint16(n))
	case n >= -1<<31:
		return binary.BigEndian.AppendUint32(append(dst, 0xd2), uint32(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, 0xd3), uint64(n))
	}
}

func appendText(dst []byte, s string) []byte {
	switch n := len(s); {
	case n < 1<<5:
		dst = append(dst, 0xa0|byte(n))
	case n < 1<<8:
		dst = append(dst, 0xd9, byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0xda), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint32(append(dst, 0xdb), uint32(n))
	}
	return append(dst, s...)
}

func appendBin(dst, b []byte) []byte {
	switch n := len(b); {
	case n < 1<<8:
		dst = append(dst, 0xc4, byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, 0xc5), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint32(append(dst, 0xc6), uint32(n))
	}
	return append(dst, b...)
}
