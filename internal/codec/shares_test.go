package codec

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/vmihailenco/msgpack/v5"
)

type named []byte

type whole struct {
	Bytes []byte
	Text  string
	Raw   msgpack.RawMessage
	JSON  json.RawMessage
	Any   any
	Some  map[string]any
	Of    *[]byte
	Inner *whole
}

// keeper keeps what it is given, which a decoder of its own may.
type keeper struct{ given []byte }

func (k *keeper) UnmarshalMsgpack(b []byte) error { k.given = b; return nil }

type inBinary struct{ given []byte }

func (k *inBinary) UnmarshalBinary(b []byte) error { k.given = b; return nil }

type inText struct{ given []byte }

func (k *inText) UnmarshalText(b []byte) error { k.given = b; return nil }

type custom struct {
	raw   msgpack.RawMessage
	given any
}

func (k *custom) DecodeMsgpack(d *msgpack.Decoder) (err error) {
	if k.raw, err = d.DecodeRaw(); err == nil {
		err = msgpack.Unmarshal(k.raw, &k.given)
	}
	return err
}

type stringer interface{ String() string }

// What Decode reads into anything that it says shares nothing is the same once the
// body's memory is used again.
func TestSharesNothing(t *testing.T) {
	inner := &whole{Bytes: []byte("inner bytes"), Text: "inner", Any: []byte("any"), Of: &[]byte{1, 2, 3}}
	values := []any{
		nil, true, 7, 1.5, "a text", []byte("some bytes"), time.Unix(1, 2),
		[]any{"a", []byte("b")},
		[]string{"a", "b"},
		map[string]any{"a": []byte("b"), "c": "d"},
		map[string]string{"a": "b"},
		map[string][]byte{"a": []byte("b")},
		&whole{
			Bytes: []byte("bytes"), Text: "text", Raw: msgpack.RawMessage{0xa1, 'x'}, JSON: json.RawMessage("{}"),
			Any: "any", Some: map[string]any{"k": []byte("v")}, Inner: inner,
		},
	}
	into := []func() any{
		func() any { return new(string) }, func() any { return new(named) }, func() any { return new(json.RawMessage) },
		func() any { return new(msgpack.RawMessage) }, func() any { return new([4]byte) }, func() any { return new([]any) },
		func() any { return new(map[string]any) }, func() any { return new(map[string]string) }, func() any { return new(map[string][]byte) },
		func() any { return new(map[string]msgpack.RawMessage) }, func() any { return new([]string) }, func() any { return new([][]byte) },
		func() any { return new(whole) }, func() any { return new(*whole) }, func() any { return new(*[]byte) }, func() any { return new(*any) },
		func() any { return new(*string) }, func() any { return new(keeper) }, func() any { return new(*keeper) }, func() any { return new(inBinary) },
		func() any { return new(inText) }, func() any { return new(custom) }, func() any { return new(stringer) }, func() any { return new(time.Time) },
		func() any { return new(struct{ Bytes Body }) }, func() any { return new([]Body) }, func() any { return new(*Body) }, func() any { return new(*Lent) },
		func() any { return new(error) },
	}
	read := 0
	for _, raw := range []bool{false, true} {
		for _, value := range values {
			body, _, err := Append(nil, value)
			if _, is := value.([]byte); is && !raw {
				body, err = msgpack.Marshal(value)
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, to := range into {
				got, want := to(), to()
				if Shares(got) {
					t.Fatalf("%T shares", got)
				}
				lent := bytes.Clone(body)
				if Decode(lent, raw, got) != nil || Decode(bytes.Clone(body), raw, want) != nil {
					continue
				}
				read++
				for i := range lent {
					lent[i] = 0xee
				}
				if !reflect.DeepEqual(got, want) {
					t.Errorf("%T of %T has changed: %v, was %v", got, value, got, want)
				}
			}
		}
	}
	if read < 100 {
		t.Errorf("only %d were read", read)
	}
}
