package codec

import (
	"fmt"
	"regexp"
	"strconv"
)

// invalidCode is how the library says that a value is of another kind than
// wanted: by the byte that the value begins with.
var invalidCode = regexp.MustCompile(`^msgpack: (?:invalid|unexpected) code=([0-9a-f]{1,2}) decoding (.+)$`)

// mismatch says in words what the library says in codes.
func mismatch(err error) error {
	found := invalidCode.FindStringSubmatch(err.Error())
	if found == nil {
		return err
	}
	code, _ := strconv.ParseUint(found[1], 16, 8) // two hexadecimal digits
	return fmt.Errorf("%s where %s is wanted", kindName(byte(code)), wanted(found[2]))
}

// wanted is the library's name for what it was to decode, with its article.
func wanted(what string) string {
	switch what {
	case "int64", "uint64":
		return "an integer"
	case "float32", "float64":
		return "a number"
	case "string/bytes length":
		return "a string or bytes"
	case "bool":
		return "true or false"
	case "array length":
		return "an array"
	case "map":
		return "a map"
	}
	return what
}

// kindName is the kind of value that begins with a byte, with its article.
// Source: the MessagePack specification, "Formats".
func kindName(code byte) string {
	switch {
	case code <= 0x7f, code >= 0xe0, code >= 0xcc && code <= 0xd3:
		return "an integer"
	case code <= 0x8f, code == 0xde, code == 0xdf:
		return "a map"
	case code <= 0x9f, code == 0xdc, code == 0xdd:
		return "an array"
	case code <= 0xbf, code >= 0xd9 && code <= 0xdb:
		return "a string"
	case code == 0xc0:
		return "nil"
	case code == 0xc2, code == 0xc3:
		return "true or false"
	case code >= 0xc4 && code <= 0xc6:
		return "bytes"
	case code == 0xca, code == 0xcb:
		return "a fraction"
	}
	return "an extension"
}
