package wire

import (
	"bytes"
	"reflect"
	"strings"

	"github.com/vmihailenco/msgpack/v5"
)

// MaxStack bounds the stack that a fail carries.
const MaxStack = 16 << 10

// MaxDump bounds the dump of a whole process that an obituary carries.
const MaxDump = 64 << 10

// AppendFailure appends a fail's body: a MessagePack map of text and stack,
// each cut to its bound.
func AppendFailure(dst []byte, text, stack string) []byte {
	f := Failure{Text: cut(text, MaxText), Stack: cut(stack, MaxStack)}
	buf := bytes.NewBuffer(dst)
	if err := msgpack.NewEncoder(buf).Encode(&f); err != nil {
		panic("wire: encode failure: " + err.Error()) // two strings into memory cannot fail
	}
	return buf.Bytes()
}

// ParseFailure reads a fail's body. What does not decode is given back as
// text, so that no error is lost for its form.
func ParseFailure(body []byte) Failure {
	var f Failure
	if len(body) == 0 {
		return f
	}
	if err := shape(body, reflect.TypeFor[Failure]()); err != nil {
		return Failure{Text: cut(strings.ToValidUTF8(string(body[:min(len(body), 2*MaxText)]), "?"), MaxText)}
	}
	if err := msgpack.NewDecoder(bytes.NewReader(body)).Decode(&f); err != nil {
		return Failure{Text: cut(err.Error(), MaxText)}
	}
	return Failure{Text: cut(f.Text, MaxText), Stack: cut(f.Stack, MaxStack)}
}

// cut returns s as valid UTF-8 of at most that many bytes.
func cut(s string, most int) string {
	if len(s) > most {
		return strings.ToValidUTF8(s[:most-3], "") + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

// Stack cuts a stack to what a message may carry.
func Stack(s string) string { return cut(s, MaxStack) }

// Dump cuts a dump to what a message may carry.
func Dump(s string) string { return cut(s, MaxDump) }

// Text cuts words to what a control message may carry.
func Text(s string) string { return cut(s, MaxText) }
