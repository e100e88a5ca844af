package zmqio

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"syscall"

	zmq "github.com/pebbe/zmq4"
)

// verdict is what became of one frame.
type verdict uint8

const (
	taken      verdict = iota // libzmq has it
	refused                   // the peer takes nothing right now
	unroutable                // there is no such peer any more
	impossible                // the socket itself is at fault
)

// transfer moves single parts between this package and one libzmq socket: the
// only calls that run for every message, and the place to put a batch shim.
// Its user holds the socket's mu.
type transfer struct {
	zs     *zmq.Socket
	router bool
}

// receive returns the next part. ok is false when there is none.
func (t transfer) receive(expectMore bool) (part []byte, more, ok bool, err error) {
	part, err = t.zs.RecvBytes(zmq.DONTWAIT)
	switch {
	case errors.Is(err, errAgain):
		return nil, false, false, nil
	case err != nil:
		return nil, false, false, fmt.Errorf("zmqio: receive: %w", err)
	case expectMore:
		return part, true, true, nil
	}
	more, err = t.zs.GetRcvmore()
	return part, more, err == nil, err
}

// receiveWithOrigin is receive for a part that may be a body, with the
// descriptor of the connection it came from, or zero. It costs more. On libzmq
// 4.3.4 the identity part does not know its origin, the next one does.
func (t transfer) receiveWithOrigin() (part []byte, more, ok bool, fd int, err error) {
	part, origin, err := t.zs.RecvBytesWithMetadata(zmq.DONTWAIT, originProperty)
	switch {
	case errors.Is(err, errAgain):
		return nil, false, false, 0, nil
	case err != nil:
		return nil, false, false, 0, fmt.Errorf("zmqio: receive: %w", err)
	}
	fd, _ = strconv.Atoi(origin[originProperty])
	more, err = t.zs.GetRcvmore()
	return part, more, err == nil, fd, err
}

// originProperty is how libzmq names what ZMQ_SRCFD returns.
const originProperty = "__fd"

// send hands one frame over whole or not at all.
//
// A ROUTER decides with the identity part: EAGAIN and EHOSTUNREACH come from
// there and leave nothing behind. Once it has accepted the identity, libzmq
// (router.cpp, xsend) takes every further part without looking at the high
// water mark again; if the connection dies in between it drops the message as
// a whole. What can still fail is the work before it, by a signal, so the rest
// of a begun message is tried again until it is through: giving up would make
// the next message's identity a part of this one.
func (t transfer) send(p *peer, body []byte) (verdict, error) {
	if !t.router {
		return judge(t.part(body, zmq.DONTWAIT))
	}
	if v, err := judge(t.part(p.identity, zmq.DONTWAIT|zmq.SNDMORE)); v != taken {
		return v, err
	}
	if p.delimiter {
		if err := t.finish(nil, zmq.DONTWAIT|zmq.SNDMORE); err != nil {
			return impossible, err
		}
	}
	if err := t.finish(body, zmq.DONTWAIT); err != nil {
		return impossible, err
	}
	return taken, nil
}

func (t transfer) part(b []byte, flags zmq.Flag) error {
	_, err := t.zs.SendBytes(b, flags)
	return err
}

func (t transfer) finish(b []byte, flags zmq.Flag) error {
	const tries = 1000
	var err error
	for range tries {
		err = t.part(b, flags)
		if !errors.Is(err, errAgain) && !errors.Is(err, errInterrupted) {
			return err
		}
		runtime.Gosched()
	}
	return err
}

// readable looks at ZMQ_EVENTS, which also lets libzmq take note of what its
// I/O threads have reported. After it ZMQ_FD will not fire for what it saw.
func (t transfer) readable() bool {
	events, err := t.zs.GetEvents()
	return err != nil || events&zmq.POLLIN != 0
}

var (
	errAgain       = zmq.Errno(syscall.EAGAIN)
	errInterrupted = zmq.Errno(syscall.EINTR)
)

func judge(err error) (verdict, error) {
	switch {
	case err == nil:
		return taken, nil
	case errors.Is(err, errAgain), errors.Is(err, errInterrupted):
		return refused, nil
	case errors.Is(err, zmq.EHOSTUNREACH):
		return unroutable, nil
	}
	return impossible, fmt.Errorf("zmqio: send: %w", err)
}
