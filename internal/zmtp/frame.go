package zmtp

import (
	"encoding/binary"
	"errors"
)

// What the first byte of a frame says.
const (
	flagMore    = 1 << 0
	flagLong    = 1 << 1
	flagCommand = 1 << 2
)

const (
	shortHead = 2
	longHead  = 9
	// MaxHead is how long the head of a frame may be, in bytes.
	MaxHead = longHead
)

// ErrFrame is the head of a frame that cannot be one.
var ErrFrame = errors.New("zmtp: malformed frame")

// Head is the head of a frame.
type Head struct {
	Size    uint64 // of the body
	More    bool   // further frames of the same message follow
	Command bool
}

// ReadHead reads the head of a frame and returns how long it is: 0 where b holds
// too little of it yet.
func ReadHead(b []byte) (h Head, n int, err error) {
	if len(b) == 0 {
		return h, 0, nil
	}
	flags := b[0]
	h.More, h.Command = flags&flagMore != 0, flags&flagCommand != 0
	if flags&^(flagMore|flagLong|flagCommand) != 0 || h.More && h.Command {
		return h, 0, ErrFrame
	}
	switch {
	case flags&flagLong == 0 && len(b) >= shortHead:
		h.Size = uint64(b[1])
		return h, shortHead, nil
	case flags&flagLong != 0 && len(b) >= longHead:
		h.Size = binary.BigEndian.Uint64(b[1:])
		if h.Size >= 1<<63 {
			return h, 0, ErrFrame
		}
		return h, longHead, nil
	}
	return h, 0, nil
}

// Precede writes the head of a message of one frame of size bytes before dst[at],
// and with delimiter an empty frame before it. It returns where they begin; the
// room that is needed is Room.
func Precede(dst []byte, at, size int, delimiter bool) (begins int) {
	if size < 256 {
		at -= shortHead
		dst[at], dst[at+1] = 0, byte(size)
	} else {
		at -= longHead
		dst[at] = flagLong
		binary.BigEndian.PutUint64(dst[at+1:], uint64(size))
	}
	if delimiter {
		at -= shortHead
		dst[at], dst[at+1] = flagMore, 0
	}
	return at
}

// Room is what Precede may need before a body.
const Room = longHead + shortHead

// Empty is a message of nothing, as a whole.
func Empty() []byte { return []byte{0, 0} }
