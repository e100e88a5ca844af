package session

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"

	"github.com/google/uuid"
)

// ID is the public name of a session: a random UUID, shown by status and in
// logs. Knowing it gives no right to call; the Key does.
type ID = uuid.UUID

// NewID draws an ID from chance.
func NewID(chance io.Reader) (ID, error) {
	l := NewLots(chance)
	return l.ID()
}

// Key is the secret half of a session: 128 random bits, in every frame of its
// holder. String hides it.
type Key [16]byte

// NewKey draws a Key from chance.
func NewKey(chance io.Reader) (Key, error) {
	l := NewLots(chance)
	return l.Key()
}

// Equal compares two keys in a time that tells nothing about them.
func (k Key) Equal(other Key) bool {
	first := binary.NativeEndian.Uint64(k[:8]) ^ binary.NativeEndian.Uint64(other[:8])
	second := binary.NativeEndian.Uint64(k[8:]) ^ binary.NativeEndian.Uint64(other[8:])
	return first|second == 0
}

// String never shows the key, so that no log does.
func (Key) String() string { return "(secret)" }

// GoString never shows the key either.
func (Key) GoString() string { return "session.Key(secret)" }

// Format keeps every verb of package fmt from showing it.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalJSON keeps structured logs from showing it.
func (k Key) MarshalJSON() ([]byte, error) { return []byte(`"` + k.String() + `"`), nil }

// Hex is the key in the clear, for tokens.
func (k Key) Hex() string { return hex.EncodeToString(k[:]) }

// NodeID names one run of a node process: 64 random bits, drawn at its start.
// Zero is no node.
type NodeID uint64

// String is the ID as status and logs show it: sixteen hexadecimal digits.
func (n NodeID) String() string { return fmt.Sprintf("%016x", uint64(n)) }

// ParseNodeID reads what NodeID.String writes.
func ParseNodeID(s string) (NodeID, error) {
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("node id %q: want up to 16 hexadecimal digits, not zero", s)
	}
	return NodeID(n), nil
}

// OpenKey names one open for ever: the client and its own request id. Repeating
// an open with the same OpenKey never opens twice.
type OpenKey struct {
	Client  uuid.UUID
	Request uuid.UUID
}

// Digest is a session's share in the exclusive or over a client's sessions by
// which a beat tells whether both sides mean the same ones.
func Digest(id ID) uint64 {
	var d uint64
	for i := range 8 {
		d = d<<8 | uint64(id[i]^id[i+8])
	}
	return d
}
