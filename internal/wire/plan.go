package wire

import (
	"encoding/binary"
	"reflect"
	"slices"
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
	most   int  // bytes at most, without those of texts and bytes
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

// planField is small: between two messages a plan leaves the nearest cache.
type planField struct {
	lead   planLead
	offset uint32
	kind   planKind
	size   uint8
	omit   bool // left out when it is zero
	rare   *planRare
}

// planRare is what only some fields have.
type planRare struct {
	typ reflect.Type // of a list or a map
	sub *plan        // of a struct
}

// planLead is what a field begins with, its key above all: two words are
// written and compared faster than a handful of bytes.
type planLead struct {
	low, high uint64 // the bytes in their order, zeros behind them
	n         uint8
}

// leadSize is how many bytes a lead may have. It is written, and looked for, as
// a whole.
const leadSize = 16

// leadMasks are the bytes that a lead of so many has, as its two words have them.
var leadMasks = func() (all [leadSize + 1][2]uint64) {
	for n := range all {
		var mask [leadSize]byte
		for i := range n {
			mask[i] = 0xff
		}
		all[n] = [2]uint64{binary.LittleEndian.Uint64(mask[:8]), binary.LittleEndian.Uint64(mask[8:])}
	}
	return all
}()

func leadOf(b []byte) planLead {
	var text [leadSize]byte
	n := copy(text[:], b)
	return planLead{low: binary.LittleEndian.Uint64(text[:8]), high: binary.LittleEndian.Uint64(text[8:]), n: uint8(n)}
}

// put writes the lead at the front of b, which has room for leadSize bytes.
func (l *planLead) put(b []byte) {
	_ = b[leadSize-1]
	binary.LittleEndian.PutUint64(b, l.low)
	binary.LittleEndian.PutUint64(b[8:], l.high)
}

// begins reports whether b begins with the lead.
func (l *planLead) begins(b []byte) bool {
	if len(b) < leadSize {
		var longer [leadSize]byte
		if len(b) < int(l.n) {
			return false
		}
		copy(longer[:], b)
		b = longer[:]
	}
	mask := &leadMasks[l.n]
	return binary.LittleEndian.Uint64(b)&mask[0] == l.low && binary.LittleEndian.Uint64(b[8:])&mask[1] == l.high
}

var plans = func() (all [256]*plan) {
	for _, k := range Kinds() {
		if m := New(k); m != nil {
			all[k] = planOf(reflect.TypeOf(m).Elem())
		}
	}
	return all
}()

// mapHead and idHead bound what stands before the fields of a struct, and
// before the bytes of an id; valueMost what a number takes, or the length of a
// text.
const (
	mapHead   = 3
	valueMost = 9
	idSize    = 16
)

func planOf(t reflect.Type) *plan {
	p := &plan{whole: true, most: mapHead + leadSize}
	for f := range t.Fields() {
		name, rest, _ := strings.Cut(f.Tag.Get("msgpack"), ",")
		field := planField{
			kind: planKindOf(f.Type), omit: rest == "omitempty", offset: uint32(f.Offset), size: uint8(f.Type.Size()),
		}
		lead := appendText(nil, name)
		switch field.kind {
		case planID:
			lead = append(lead, 0xc4, idSize)
			p.most += idSize
		case planStruct:
			field.rare = &planRare{sub: planOf(f.Type)}
			p.whole = p.whole && field.rare.sub.whole
			p.most += field.rare.sub.most
		case planOther:
			field.rare = &planRare{typ: f.Type}
			p.whole = p.whole && field.omit
		default:
			p.most += valueMost
		}
		if len(lead) > leadSize {
			panic("wire: no plan has room for a field named " + name)
		}
		field.lead = leadOf(lead)
		p.most += len(lead)
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
	dst = slices.Grow(dst, pl.most)
	start := len(dst)
	dst = append(dst, 0x80)
	n := 0
	for i := range pl.fields {
		f := &pl.fields[i]
		at := unsafe.Add(p, f.offset)
		if f.omit && f.absent(at) {
			continue
		}
		n++
		end := len(dst)
		f.lead.put(dst[end : end+leadSize])
		dst = dst[:end+int(f.lead.n)]
		switch f.kind {
		case planID:
			dst = append(dst, (*[idSize]byte)(at)[:]...)
		case planUint:
			dst = appendUint(dst, f.uint(at))
		case planInt:
			dst = appendInt(dst, f.int(at))
		case planBool:
			dst = append(dst, 0xc2|*(*byte)(at))
		case planString:
			dst = slices.Grow(appendText(dst, *(*string)(at)), pl.most)
		case planBytes:
			dst = slices.Grow(appendBin(dst, *(*[]byte)(at)), pl.most)
		case planStruct:
			if dst, ok = f.rare.sub.append(dst, at); !ok {
				return dst, false
			}
			dst = slices.Grow(dst, pl.most)
		default:
			return dst, false
		}
	}
	return headed(dst, start, n), true
}

// headed writes how many fields the map has that begins at start, where a short
// head has been left for it.
func headed(dst []byte, start, n int) []byte {
	if n < 16 {
		dst[start] = 0x80 | byte(n)
		return dst
	}
	return slices.Replace(dst, start, start+1, 0xde, byte(n>>8), byte(n))
}

// absent reports whether a field is its zero value, or an empty list or map.
func (f *planField) absent(at unsafe.Pointer) bool {
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
		return f.empty(at)
	default:
		return false
	}
}

// empty reports whether a list or a map has nothing in it.
func (f *planField) empty(at unsafe.Pointer) bool {
	if f.rare.typ.Kind() == reflect.Map && *(*unsafe.Pointer)(at) == nil {
		return true
	}
	return reflect.NewAt(f.rare.typ, at).Elem().Len() == 0
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
