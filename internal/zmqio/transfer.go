package zmqio

import (
	"fmt"
	"syscall"

	zmq "github.com/pebbe/zmq4"
)

// What moves messages between this package and one libzmq socket, the only calls
// that run for every message, is a transfer. There are two of it: over the C shim
// (shim.go), and, with the build tag limpet_pure_zmq, over nothing but the binding
// (pure.go). Its user holds the socket's mu.
//
// A frame is handed over whole or not at all. A ROUTER decides with the identity
// part: EAGAIN and EHOSTUNREACH come from there and leave nothing behind. Once it
// has accepted the identity, libzmq (router.cpp, xsend) takes every further part
// without looking at the high water mark again; if the connection dies in between
// it drops the message as a whole. What can still fail is the work before it, by
// a signal, so the rest of a begun message is tried again until it is through:
// giving up would make the next message's identity a part of this one.

// verdict is what became of one frame.
type verdict uint8

const (
	taken      verdict = iota // libzmq has it
	refused                   // the peer takes nothing right now
	unroutable                // there is no such peer any more
	impossible                // the socket itself is at fault
)

// want is what the next part may be, and what has to be known of it.
type want struct {
	identity bool // it is one, and so cannot be the last
	origin   bool // the descriptor of the connection that it came from
	block    bool // it may be handed over as a block, if it is the last one
}

// part is one part of a message.
type part struct {
	bytes  []byte
	more   bool   // further parts of the same message follow
	origin int    // descriptor of the connection that it came from; 0 where unknown
	block  *Block // whose frame bytes are, or nil
}

const (
	errAgain       = zmq.Errno(syscall.EAGAIN)
	errInterrupted = zmq.Errno(syscall.EINTR)
)

// judge says what libzmq's answer to the first part of a message means for the
// whole.
func judge(answer zmq.Errno) (verdict, error) {
	switch answer {
	case 0:
		return taken, nil
	case errAgain, errInterrupted:
		return refused, nil
	case zmq.EHOSTUNREACH:
		return unroutable, nil
	default:
		return impossible, fmt.Errorf("zmqio: send: %w", answer)
	}
}
