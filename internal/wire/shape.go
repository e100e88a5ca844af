package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"

	"github.com/limpet-rpc/limpet/internal/codec"
)

// Bounds of the form of a control message, known fields and unknown ones.
const (
	MaxList  = 4096 // items of a list, pairs of a map
	MaxDepth = 8
)

// fieldsOf holds the types of the fields of every struct that occurs in a
// control message, by their names on the wire.
var fieldsOf = func() map[reflect.Type]map[string]reflect.Type {
	all := map[reflect.Type]map[string]reflect.Type{}
	for _, k := range Kinds() {
		if m := New(k); m != nil {
			describe(all, reflect.TypeOf(m).Elem())
		}
	}
	describe(all, reflect.TypeFor[Failure]())
	describe(all, reflect.TypeFor[Next]())
	return all
}()

func describe(all map[reflect.Type]map[string]reflect.Type, t reflect.Type) {
	for t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || all[t] != nil {
		return
	}
	all[t] = map[string]reflect.Type{}
	for f := range t.Fields() {
		name := fieldName(f)
		all[t][name] = f.Type
		describe(all, f.Type)
	}
}

// fieldName is a field's name on the wire.
func fieldName(f reflect.StructField) string {
	name := f.Tag.Get("msgpack")
	for i := range len(name) {
		if name[i] == ',' {
			return name[:i]
		}
	}
	return name
}

// shape checks that b is exactly one value that decodes into t: complete, not
// too deep, no list too long, every known field of its own type and every
// integer within it. The decoder believes lengths, recurses as deep as it is
// told and cuts integers to size: it only gets what has passed here.
func shape(b []byte, t reflect.Type) error {
	size, err := fits(b, t, MaxDepth)
	if err == nil && size != len(b) {
		err = fmt.Errorf("%d bytes after its end", len(b)-size)
	}
	return err
}

// fieldError is what is wrong with a field, and where that is.
type fieldError struct {
	path string
	err  error
}

// Error names the field first.
func (e *fieldError) Error() string { return e.path + ": " + e.err.Error() }

// Unwrap is what is wrong with it.
func (e *fieldError) Unwrap() error { return e.err }

// within puts a step in front of the path of an error.
func within(step string, err error) error {
	inner, ok := errors.AsType[*fieldError](err)
	if !ok {
		return &fieldError{step, err}
	}
	if !strings.HasPrefix(inner.path, "[") { // the name of a field may be empty: strangers choose it
		step += "."
	}
	return &fieldError{step + inner.path, inner.err}
}

// fits checks the first value of b against t and returns how many bytes it
// takes. Nil fits everything: it is the zero value.
func fits(b []byte, t reflect.Type, depth int) (size int, err error) {
	form, head, follow, err := codec.Peek(b)
	if err != nil {
		return 0, err
	}
	switch want := wanted(t); {
	case form == codec.FormNil:
		return head, nil
	case form != want && (!textual(form) || !textual(want)):
		return 0, fmt.Errorf("%s where %s belongs", form, want)
	case t.Kind() == reflect.Struct:
		return fieldsFit(b, head, follow, fieldsOf[t], depth)
	case want == codec.FormList:
		return itemsFit(b, head, follow, t.Elem(), depth)
	}
	size, err = codec.Skip(b, depth, MaxList)
	if err != nil {
		return 0, err
	}
	return size, scalarFits(b[:size], head, t)
}

// wanted is the form in which a type travels. Identifiers are bytes.
func wanted(t reflect.Type) codec.Form {
	switch t.Kind() {
	case reflect.Bool:
		return codec.FormBool
	case reflect.String:
		return codec.FormString
	case reflect.Array:
		return codec.FormBytes
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return codec.FormBytes
		}
		return codec.FormList
	case reflect.Map, reflect.Struct:
		return codec.FormMap
	default:
		return codec.FormInt
	}
}

// textual forms may stand for each other: there are languages that have one
// type for both.
func textual(f codec.Form) bool { return f == codec.FormString || f == codec.FormBytes }

func fieldsFit(b []byte, head int, count uint64, known map[string]reflect.Type, depth int) (size int, err error) {
	if err := room(b, head, count, depth); err != nil {
		return 0, err
	}
	size = head
	for range count {
		key, n, err := fieldKey(b[size:])
		if err != nil {
			return 0, err
		}
		size += n
		if t := known[string(key)]; t != nil {
			n, err = fits(b[size:], t, depth-1)
		} else {
			n, err = codec.Skip(b[size:], depth-1, MaxList)
		}
		if err != nil {
			return 0, within(fmt.Sprintf("%.40s", bytes.ToValidUTF8(key, []byte("?"))), err)
		}
		size += n
	}
	return size, nil
}

func fieldKey(b []byte) (key []byte, size int, err error) {
	form, head, _, err := codec.Peek(b)
	if err != nil {
		return nil, 0, fmt.Errorf("a field's name: %w", err)
	}
	if !textual(form) {
		return nil, 0, fmt.Errorf("%s where a field's name belongs", form)
	}
	size, err = codec.Skip(b, 0, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("a field's name: %w", err)
	}
	return b[head:size], size, nil
}

func itemsFit(b []byte, head int, items uint64, t reflect.Type, depth int) (size int, err error) {
	if err := room(b, head, items, depth); err != nil {
		return 0, err
	}
	size = head
	for i := range items {
		n, err := fits(b[size:], t, depth-1)
		if err != nil {
			return 0, within(fmt.Sprintf("[%d]", i), err)
		}
		size += n
	}
	return size, nil
}

// room refuses lists and maps that are not there, too long or too deep.
func room(b []byte, head int, items uint64, depth int) error {
	switch {
	case items > MaxList:
		return fmt.Errorf("%d items, at most %d", items, MaxList)
	case items > uint64(len(b)-head):
		return fmt.Errorf("%w: %d items in %d bytes", codec.ErrCut, items, len(b)-head)
	case depth <= 0:
		return errDeep
	}
	return nil
}

var (
	errDeep  = fmt.Errorf("nested more than %d deep", MaxDepth)
	errPairs = errors.New("keys and values must be strings")
)

// scalarFits checks one value that is all there.
func scalarFits(b []byte, head int, t reflect.Type) error {
	switch t.Kind() {
	case reflect.Array:
		if got := len(b) - head; got != t.Len() {
			return fmt.Errorf("%d bytes, want %d", got, t.Len())
		}
		return nil
	case reflect.Map:
		return pairsFit(b[head:])
	case reflect.Bool, reflect.String, reflect.Slice:
		return nil
	default:
		return integerFits(b, t)
	}
}

// pairsFit checks the content of a map of strings.
func pairsFit(b []byte) error {
	for len(b) > 0 {
		form, head, follow, err := codec.Peek(b)
		if err != nil || !textual(form) {
			return errPairs
		}
		b = b[head+int(follow):]
	}
	return nil
}

// integerFits checks that an integer lies within its type.
func integerFits(b []byte, t reflect.Type) error {
	negative, magnitude := integer(b)
	signedType := t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64
	out := !signedType && (negative || t.OverflowUint(magnitude)) ||
		signedType && (magnitude > math.MaxInt64 || t.OverflowInt(signed(negative, magnitude)))
	switch {
	case !out:
		return nil
	case negative:
		return fmt.Errorf("-%d is out of range", magnitude)
	default:
		return fmt.Errorf("%d is out of range", magnitude)
	}
}

func signed(negative bool, magnitude uint64) int64 {
	if negative {
		return -int64(magnitude)
	}
	return int64(magnitude)
}

// integer reads an integer of any width.
func integer(b []byte) (negative bool, magnitude uint64) {
	c, value := b[0], b[1:]
	if len(value) == 0 {
		return c >= 0xe0, uint64(max(int64(int8(c)), -int64(int8(c))))
	}
	var wide [8]byte
	copy(wide[8-len(value):], value)
	u := binary.BigEndian.Uint64(wide[:])
	const firstSigned = 0xd0
	if c < firstSigned {
		return false, u
	}
	shift := 64 - 8*len(value)
	if i := int64(u<<shift) >> shift; i < 0 {
		return true, uint64(-i)
	}
	return false, u
}
