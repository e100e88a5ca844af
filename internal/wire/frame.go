package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Peer names one connection as its transport sees it: a number that is unique
// in its process and never used again. Who the peer is, is said in Hello and
// lives above it. Zero is nobody.
type Peer uint64

// Out is one envelope to send.
type Out struct {
	To  Peer
	Env []byte
}

// Version is the protocol version that this code speaks best.
// MinVersion is the oldest one that it still speaks.
const (
	Version    = 1
	MinVersion = 1
)

// A frame is the head followed by one to n envelopes, each behind its length.
const (
	HeadSize   = 4 // 'L' 'M' 'P' version
	lengthSize = 4 // uint32, big endian
)

// Limits of a frame. MaxEnvelope bounds one envelope, so that a length field
// can never ask for more; MaxFrame bounds what a peer may send at once.
const (
	MaxEnvelope = 8 << 20
	MaxFrame    = MaxEnvelope + 64<<10
)

// Errors of a frame that is not one of ours.
var (
	ErrFrame        = errors.New("wire: malformed frame")
	ErrFrameVersion = errors.New("wire: unsupported frame version")
)

// AppendHead appends the head that every frame begins with.
func AppendHead(dst []byte) []byte { return append(dst, 'L', 'M', 'P', Version) }

// AppendEnvelope appends one envelope behind its length.
func AppendEnvelope(dst, env []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(env)))
	return append(dst, env...)
}

// Envelopes walks over the envelopes of one frame.
type Envelopes struct {
	rest []byte
	err  error
}

// Split checks the head of a frame and returns its envelopes. The envelopes
// share the frame's memory. A frame without envelopes is malformed.
func Split(frame []byte) (Envelopes, error) {
	if len(frame) < HeadSize || frame[0] != 'L' || frame[1] != 'M' || frame[2] != 'P' {
		return Envelopes{}, fmt.Errorf("%w: no head", ErrFrame)
	}
	if v := frame[3]; v < MinVersion || v > Version {
		return Envelopes{}, fmt.Errorf("%w: %d", ErrFrameVersion, v)
	}
	if len(frame) == HeadSize {
		return Envelopes{}, fmt.Errorf("%w: no envelope", ErrFrame)
	}
	return Envelopes{rest: frame[HeadSize:]}, nil
}

// Next returns the next envelope, or false at the end or at the first that is
// malformed; Err tells which.
func (e *Envelopes) Next() ([]byte, bool) {
	if e.err != nil || len(e.rest) == 0 {
		return nil, false
	}
	if len(e.rest) < lengthSize {
		e.err = fmt.Errorf("%w: cut length", ErrFrame)
		return nil, false
	}
	n := binary.BigEndian.Uint32(e.rest)
	if n == 0 || n > MaxEnvelope || int(n) > len(e.rest)-lengthSize {
		e.err = fmt.Errorf("%w: envelope of %d bytes in %d", ErrFrame, n, len(e.rest)-lengthSize)
		return nil, false
	}
	env := e.rest[lengthSize : lengthSize+n : lengthSize+n]
	e.rest = e.rest[lengthSize+n:]
	return env, true
}

// More reports whether there is something that Next has not looked at.
func (e *Envelopes) More() bool { return e.err == nil && len(e.rest) > 0 }

// Err returns what ended Next early, nil at a clean end.
func (e *Envelopes) Err() error { return e.err }
