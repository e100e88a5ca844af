package zmtp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Kind is what a socket is, as its READY says.
type Kind string

// The kinds that have to do with each other here.
const (
	Router Kind = "ROUTER"
	Dealer Kind = "DEALER"
	Req    Kind = "REQ"
	Rep    Kind = "REP"
)

// fits are the kinds that a kind may be connected to.
var fits = map[Kind][]Kind{
	Router: {Dealer, Req, Router},
	Dealer: {Router, Rep, Dealer},
}

// Fits reports whether a socket of kind k may be connected to one of kind other.
func (k Kind) Fits(other Kind) bool { return slices.Contains(fits[k], other) }

// ErrCommand is a command that cannot be understood, or that has no place where
// it was said.
var ErrCommand = errors.New("zmtp: malformed command")

// MaxCommand is how long a command may be, in bytes.
const MaxCommand = 1024

// Names of commands.
const (
	Ready = "READY"
	Error = "ERROR"
	Ping  = "PING"
	Pong  = "PONG"
)

const maxContext = 16 // of a PING, to be returned by its PONG

// SplitCommand takes the name off a command's body.
func SplitCommand(body []byte) (name string, rest []byte, err error) {
	if len(body) == 0 || len(body) < 1+int(body[0]) {
		return "", nil, fmt.Errorf("%w: no name", ErrCommand)
	}
	n := 1 + int(body[0])
	return string(body[1:n]), body[n:], nil
}

// appendCommand appends a whole command frame.
func appendCommand(dst []byte, name string, rest ...byte) []byte {
	dst = append(dst, flagCommand, byte(1+len(name)+len(rest)), byte(len(name)))
	dst = append(dst, name...)
	return append(dst, rest...)
}

// Property is one thing that a READY says; a side that does not know its key does
// not look at it.
type Property struct {
	Key   string
	Value []byte
}

// AppendReady appends the READY of a socket of that kind, with what else it says:
// some 200 bytes have room. It says nothing of an identity: whoever listens makes
// them.
func AppendReady(dst []byte, kind Kind, more ...Property) []byte {
	rest := appendProperty(nil, Property{socketType, []byte(kind)})
	for _, p := range more {
		rest = appendProperty(rest, p)
	}
	return appendCommand(dst, Ready, rest...)
}

const socketType = "Socket-Type"

func appendProperty(dst []byte, p Property) []byte {
	dst = append(append(dst, byte(len(p.Key))), p.Key...)
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(p.Value))), p.Value...)
}

// ReadReady returns the kind of socket that the rest of a READY names. Other
// properties may be there: see FindProperty.
func ReadReady(rest []byte) (kind Kind, err error) {
	for len(rest) > 0 {
		var p Property
		if p, rest, err = splitProperty(rest); err != nil {
			return "", err
		}
		if p.Key == socketType {
			kind = Kind(p.Value)
		}
	}
	if kind == "" {
		return "", fmt.Errorf("%w: READY names no kind of socket", ErrCommand)
	}
	return kind, nil
}

// FindProperty returns the first value that the rest of a READY gives for key, a
// slice of rest; nil where it gives none.
func FindProperty(rest []byte, key string) []byte {
	for len(rest) > 0 {
		p, behind, err := splitProperty(rest)
		switch {
		case err != nil:
			return nil
		case p.Key == key:
			return p.Value
		}
		rest = behind
	}
	return nil
}

// splitProperty takes the first property off.
func splitProperty(rest []byte) (p Property, behind []byte, err error) {
	n := 1 + int(rest[0])
	if len(rest) < n+4 {
		return p, nil, fmt.Errorf("%w: READY is cut short", ErrCommand)
	}
	key, size := string(rest[1:n]), binary.BigEndian.Uint32(rest[n:])
	rest = rest[n+4:]
	if uint64(size) > uint64(len(rest)) {
		return p, nil, fmt.Errorf("%w: READY is cut short", ErrCommand)
	}
	return Property{key, rest[:size:size]}, rest[size:], nil
}

// AppendError appends the ERROR that ends a handshake; of the reason the first 200
// bytes are said.
func AppendError(dst []byte, reason string) []byte {
	reason = reason[:min(len(reason), 200)]
	return appendCommand(dst, Error, append([]byte{byte(len(reason))}, reason...)...)
}

// ReadError returns the reason that the rest of an ERROR gives.
func ReadError(rest []byte) string {
	if len(rest) == 0 || len(rest) < 1+int(rest[0]) {
		return "no reason given"
	}
	return string(rest[1 : 1+int(rest[0])])
}

// AppendPing appends a PING. ttl, in tenths of a second, is how long the far side
// may wait for a sign of life before it gives the connection up.
func AppendPing(dst []byte, ttl uint16) []byte {
	return appendCommand(dst, Ping, byte(ttl>>8), byte(ttl))
}

// AppendPong appends the answer to a PING of which rest is left behind its name.
func AppendPong(dst, rest []byte) ([]byte, error) {
	if len(rest) < 2 || len(rest) > 2+maxContext {
		return dst, fmt.Errorf("%w: a PING with %d bytes", ErrCommand, len(rest))
	}
	return appendCommand(dst, Pong, rest[2:]...), nil
}
