package session

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Token is all that another process needs to carry on with a session: whoever
// has it may attach. It holds the session's key, so it is a secret.
type Token struct {
	Node    NodeID
	Session ID
	Key     Key
}

// A token's text is base64url over: version, node, session, key, and a CRC-32
// of them, which tells a token that was cut short from one that is not known.
const (
	tokenVersion = 1
	tokenSize    = 1 + 8 + 16 + 16 + 4
)

// Text is the token as one word without padding.
func (t Token) Text() string {
	b := make([]byte, 0, tokenSize)
	b = append(b, tokenVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(t.Node))
	b = append(b, t.Session[:]...)
	b = append(b, t.Key[:]...)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

// String hides the token.
func (Token) String() string { return "(secret)" }

// ParseToken reads what Text writes. Its error is ErrTokenInvalid and says
// what is wrong, never what the token holds.
func ParseToken(text string) (Token, error) {
	invalid := func(why string) (Token, error) {
		return Token{}, &Error{Code: ErrTokenInvalid, Outcome: NotRun, Text: why}
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	switch {
	case err != nil:
		return invalid("not base64url")
	case len(b) != tokenSize:
		return invalid(fmt.Sprintf("%d bytes, want %d", len(b), tokenSize))
	case b[0] != tokenVersion:
		return invalid(fmt.Sprintf("version %d, want %d", b[0], tokenVersion))
	case binary.BigEndian.Uint32(b[tokenSize-4:]) != crc32.ChecksumIEEE(b[:tokenSize-4]):
		return invalid("its checksum does not fit")
	}
	t := Token{Node: NodeID(binary.BigEndian.Uint64(b[1:])), Session: ID(b[9:25]), Key: Key(b[25:41])}
	if t.Node == 0 {
		return invalid("it names no node")
	}
	return t, nil
}
