// Package codec answers one question: how do a caller's values become a body
// and a body values again? Values are MessagePack; a []byte travels as it is,
// with the raw flag set.
//
// What it does not do: it knows no message, only their bodies.
package codec

import (
	"bytes"
	"errors"
	"fmt"
	"sync"

	"github.com/vmihailenco/msgpack/v5"
)

var encoders = sync.Pool{New: func() any { return msgpack.NewEncoder(nil) }}

// Append encodes v behind dst. A []byte is appended as it is and raw is true;
// a Body is appended as it came.
func Append(dst []byte, v any) (out []byte, raw bool, err error) {
	switch v := v.(type) {
	case []byte:
		return append(dst, v...), true, nil
	case Lent:
		return append(dst, v...), true, nil
	case Body:
		if !v.Raw && len(v.Bytes) == 0 {
			return append(dst, 0xc0), false, nil
		}
		return append(dst, v.Bytes...), v.Raw, nil
	case nil:
		return append(dst, 0xc0), false, nil
	case string:
		return appendString(dst, v), false, nil
	}
	buf := bytes.NewBuffer(dst)
	enc := encoders.Get().(*msgpack.Encoder)
	enc.Reset(buf)
	enc.SetSortMapKeys(true)
	enc.UseCompactInts(true)
	enc.SetCustomStructTag("json") // a value's field names are the ones it already has
	err = encode(enc, v)
	enc.Reset(nil)
	encoders.Put(enc)
	return buf.Bytes(), false, err
}

// encode keeps a panicking Marshaler from taking its caller along.
func encode(enc *msgpack.Encoder, v any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("encode %T: %v", v, p)
		}
	}()
	return enc.Encode(v)
}

func appendString(dst []byte, s string) []byte {
	switch n := len(s); {
	case n < 32:
		dst = append(dst, 0xa0|byte(n))
	case n < 1<<8:
		dst = append(dst, 0xd9, byte(n))
	case n < 1<<16:
		dst = append(dst, 0xda, byte(n>>8), byte(n))
	default:
		dst = append(dst, 0xdb, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(dst, s...)
}

var decoders = sync.Pool{New: func() any { return msgpack.NewDecoder(nil) }}

// errRaw is bytes where a value was wanted.
var errRaw = errors.New("raw bytes, want a MessagePack value")

// Body takes a body as it came: raw bytes, or one MessagePack value that was
// walked over and not decoded. It shares the body's memory.
type Body struct {
	Bytes []byte
	Raw   bool
}

// Lent is bytes whose memory is somebody else's, and used again.
type Lent []byte

// Decode reads body into the value that v points to. A *[]byte takes raw
// bytes, which then share body's memory, as well as a MessagePack string.
func Decode(body []byte, raw bool, v any) error {
	if v == nil {
		return nil
	}
	if raw {
		switch p := v.(type) {
		case *[]byte:
			*p = body
			return nil
		case *Lent:
			*p = body
			return nil
		case *any:
			*p = body
			return nil
		case *Body:
			*p = Body{Bytes: body, Raw: true}
			return nil
		}
		return errRaw
	}
	if size, err := Skip(body, MaxDepth, MaxItems); err != nil {
		return err
	} else if size != len(body) {
		return fmt.Errorf("%d bytes after the value", len(body)-size)
	}
	if p, ok := v.(*Body); ok {
		*p = Body{Bytes: body}
		return nil
	}
	body, err := disarm(body)
	if err != nil {
		return err
	}
	rest := bytes.NewReader(body)
	dec := decoders.Get().(*msgpack.Decoder)
	dec.Reset(rest)
	dec.SetCustomStructTag("json")
	dec.UseLooseInterfaceDecoding(true)
	if p, ok := v.(*any); ok {
		*p = nil // or the decoder takes what it held for the place to decode into
	}
	err = decode(dec, v)
	dec.Reset(nil)
	decoders.Put(dec)
	if err == nil && rest.Len() != 0 {
		return fmt.Errorf("%d bytes after the value", rest.Len())
	}
	if err != nil {
		return mismatch(err)
	}
	return nil
}

// Shares reports that what Decode reads into v may share the body's memory.
func Shares(v any) bool {
	switch v.(type) {
	case *[]byte, *Lent, *any, *Body:
		return true
	}
	return false
}

// decode keeps a decoder's panic on hostile input from ending the process.
func decode(dec *msgpack.Decoder, v any) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decode into %T: %v", v, p)
		}
	}()
	return dec.Decode(v)
}
