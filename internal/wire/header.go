package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// Flags of a session message.
type Flags uint8

// The flags. A receiver ignores those it does not know.
const (
	FlagTrace   Flags = 1 << 0 // a trace context follows the header
	FlagRaw     Flags = 1 << 1 // the body is bytes as they are, not MessagePack
	FlagNotRun  Flags = 1 << 2 // a fail's outcome: certainly not run
	FlagUnknown Flags = 1 << 3 // a fail's outcome: may have run
	FlagAgain   Flags = 1 << 4 // sent again
	FlagStream  Flags = 1 << 5 // the body comes as chunks; of a chunk or credit: with its end
	FlagNext    Flags = 1 << 6 // a reply's body is a Next: the call goes on elsewhere
)

// HeaderSize is the fixed part of every session message.
const HeaderSize = 80

// offsets of the fields in the fixed header, all big endian.
const (
	offKind     = 0  // uint8
	offFlags    = 1  // uint8
	offCode     = 2  // uint16: an error code; in a call, the length of the method's name
	offEpoch    = 4  // uint32: the holder epoch
	offVia      = 8  // uint64: return path, set by the broker, echoed by the node
	offNode     = 16 // uint64: the node that serves the session
	offSession  = 24 // 16 bytes
	offKey      = 40 // 16 bytes; zero towards the holder
	offNumber   = 56 // uint64
	offAck      = 64 // uint64
	offBudget   = 72 // uint32: milliseconds that are left, 0 = no limit; of a credit its window, of the last chunk the sum
	offPatience = 76 // uint32: milliseconds without progress, 0 = the method's own, all ones = for ever
)

// Header is the fixed header of a session message.
type Header struct {
	Kind    Kind
	Flags   Flags
	Code    session.Code
	Epoch   uint32
	Via     Peer
	Node    session.NodeID
	Session session.ID
	Key     session.Key
	Number  uint64
	Ack     uint64
	Budget  time.Duration // whole milliseconds on the wire, rounded up; 0 = no limit
	// Patience is how long a call may run without progress before it counts as
	// hung; 0 = as its method has it, below 0 = for ever.
	Patience time.Duration
	Trace    Trace
}

// ErrShort is an envelope too short for what its kind needs.
var ErrShort = errors.New("wire: envelope cut short")

// Append appends the header, and the trace context if FlagTrace is set.
func (h *Header) Append(dst []byte) []byte {
	at := len(dst)
	dst = slices.Grow(dst, HeaderSize)[:at+HeaderSize] // written where it goes: every byte of it belongs to a field
	b := (*[HeaderSize]byte)(dst[at:])
	b[offKind], b[offFlags] = byte(h.Kind), byte(h.Flags)
	binary.BigEndian.PutUint16(b[offCode:], uint16(h.Code))
	binary.BigEndian.PutUint32(b[offEpoch:], h.Epoch)
	binary.BigEndian.PutUint64(b[offVia:], uint64(h.Via))
	binary.BigEndian.PutUint64(b[offNode:], uint64(h.Node))
	copy(b[offSession:], h.Session[:])
	copy(b[offKey:], h.Key[:])
	binary.BigEndian.PutUint64(b[offNumber:], h.Number)
	binary.BigEndian.PutUint64(b[offAck:], h.Ack)
	binary.BigEndian.PutUint32(b[offBudget:], Millis(h.Budget))
	binary.BigEndian.PutUint32(b[offPatience:], PatienceMillis(h.Patience))
	if h.Flags&FlagTrace != 0 {
		dst = append(dst, h.Trace[:]...)
	}
	return dst
}

// ParseHeader reads the header of a session message and returns what follows
// it, which shares env's memory. Where only the trace context is cut short, the
// error comes with the header, so that its sender can be answered.
func ParseHeader(env []byte) (h Header, rest []byte, err error) {
	rest, err = h.Parse(env)
	return h, rest, err
}

// Parse is ParseHeader into h. Where not even the header is whole, h stays as it is.
func (h *Header) Parse(env []byte) (rest []byte, err error) {
	if len(env) < HeaderSize {
		return nil, fmt.Errorf("%w: %d bytes, a %s takes at least %d", ErrShort, len(env), KindOf(env), HeaderSize)
	}
	b := (*[HeaderSize]byte)(env)
	h.Kind, h.Flags = Kind(b[offKind]), Flags(b[offFlags])
	h.Code = session.Code(binary.BigEndian.Uint16(b[offCode:]))
	h.Epoch = binary.BigEndian.Uint32(b[offEpoch:])
	h.Via = Peer(binary.BigEndian.Uint64(b[offVia:]))
	h.Node = session.NodeID(binary.BigEndian.Uint64(b[offNode:]))
	copy(h.Session[:], b[offSession:])
	copy(h.Key[:], b[offKey:])
	h.Number = binary.BigEndian.Uint64(b[offNumber:])
	h.Ack = binary.BigEndian.Uint64(b[offAck:])
	h.Budget = time.Duration(binary.BigEndian.Uint32(b[offBudget:])) * time.Millisecond
	h.Patience = PatienceOf(binary.BigEndian.Uint32(b[offPatience:]))
	rest = env[HeaderSize:]
	if h.Flags&FlagTrace == 0 {
		h.Trace = Trace{}
		return rest, nil
	}
	if len(rest) < TraceSize {
		return nil, fmt.Errorf("%w: trace context of %d bytes, want %d", ErrShort, len(rest), TraceSize)
	}
	copy(h.Trace[:], rest)
	return rest[TraceSize:], nil
}

// RouteOf returns what a broker needs of a session message: the node it is
// for or from, and the return path.
func RouteOf(env []byte) (node session.NodeID, via Peer, ok bool) {
	if len(env) < HeaderSize {
		return 0, 0, false
	}
	return session.NodeID(binary.BigEndian.Uint64(env[offNode:])), Peer(binary.BigEndian.Uint64(env[offVia:])), true
}

// SessionOf returns whose message a session message is.
func SessionOf(env []byte) (id session.ID, ok bool) {
	if len(env) < HeaderSize {
		return id, false
	}
	return session.ID(env[offSession:]), true
}

// SetVia writes the return path into an encoded session message.
func SetVia(env []byte, via Peer) { binary.BigEndian.PutUint64(env[offVia:], uint64(via)) }

// SetAck writes the acknowledgement and the remaining budget into an encoded
// call that is sent again, and marks it so.
func SetAck(env []byte, ack uint64, budget time.Duration) {
	env[offFlags] |= byte(FlagAgain)
	binary.BigEndian.PutUint64(env[offAck:], ack)
	binary.BigEndian.PutUint32(env[offBudget:], Millis(budget))
}

// Millis is a duration as the wire has it: whole milliseconds, rounded up so
// that a short limit never becomes none; zero and below is 0, no limit.
func Millis(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	ms := (d-1)/time.Millisecond + 1
	return uint32(min(int64(ms), math.MaxUint32))
}

// PatienceMillis puts a patience on the wire: as Millis, and all ones for one
// below 0, which never ends.
func PatienceMillis(d time.Duration) uint32 {
	if d < 0 {
		return math.MaxUint32
	}
	return min(Millis(d), math.MaxUint32-1)
}

// PatienceOf takes it off the wire.
func PatienceOf(ms uint32) time.Duration {
	if ms == math.MaxUint32 {
		return -1
	}
	return time.Duration(ms) * time.Millisecond
}

// MaxMethod bounds a method's name.
const MaxMethod = 255

// MaxArgument bounds the argument of a call: whatever the length of its method's
// name, and traced or not, it fits an envelope.
const MaxArgument = MaxEnvelope - HeaderSize - TraceSize - MaxMethod

// AppendCall appends a call: header, method, arguments.
func AppendCall(dst []byte, h *Header, method string, args []byte) []byte {
	h.Kind, h.Code = KindCall, session.Code(len(method))
	dst = h.Append(dst)
	dst = append(dst, method...)
	return append(dst, args...)
}

// CutMethod splits what follows a call's header into the method's name and the
// arguments.
func CutMethod(h *Header, rest []byte) (method, args []byte, err error) {
	n := int(h.Code)
	if n == 0 || n > MaxMethod || n > len(rest) {
		return nil, nil, fmt.Errorf("%w: method name of %d bytes in %d", ErrShort, n, len(rest))
	}
	return rest[:n], rest[n:], nil
}

// Failure is the body of a fail.
type Failure struct {
	Text  string `msgpack:"text,omitempty"`
	Stack string `msgpack:"stack,omitempty"`
}

// SetOutcome puts a fail's outcome into its flags.
func (h *Header) SetOutcome(o session.Outcome) {
	switch o {
	case session.NotRun:
		h.Flags |= FlagNotRun
	case session.Unknown:
		h.Flags |= FlagUnknown
	case session.Done:
	}
}

// Outcome reads a fail's outcome from its flags.
func (h *Header) Outcome() session.Outcome {
	switch {
	case h.Flags&FlagNotRun != 0:
		return session.NotRun
	case h.Flags&FlagUnknown != 0:
		return session.Unknown
	}
	return session.Done
}
