//go:build limpet_pure_zmq

package zmqio

import (
	"errors"
	"fmt"
	"runtime"
	"strconv"

	zmq "github.com/pebbe/zmq4"
)

// transfer is a call for every part, and nothing to remember.
type transfer struct {
	zs     *zmq.Socket
	router bool
}

// arena is what parts are received into; the binding makes its own memory.
type arena struct{}

func (*arena) reuse() {}

func (t *transfer) open(*arena) error { return nil }

// askOrigins lets the parts say where they came from, if asked.
func (t *transfer) askOrigins() {}

// lookAgain has nothing to forget: nothing is received ahead.
func (t *transfer) lookAgain() {}

func (t *transfer) close() error { return t.zs.Close() }

// receive returns the next part. ok is false when there is none.
func (t *transfer) receive(w want) (p part, ok bool, err error) {
	if w.origin {
		p, err = t.receiveWithOrigin()
	} else {
		p.bytes, err = t.zs.RecvBytes(zmq.DONTWAIT)
	}
	switch {
	case errors.Is(err, errAgain):
		return part{}, false, nil
	case err != nil:
		return part{}, false, fmt.Errorf("zmqio: receive: %w", err)
	case w.identity:
		p.more = true
		return p, true, nil
	}
	p.more, err = t.zs.GetRcvmore()
	if err == nil && w.block && !p.more && len(p.bytes) >= BlockMin {
		p.block = blockOf(p.bytes)
	}
	return p, err == nil, err
}

// receiveWithOrigin costs more. On libzmq 4.3.4 the identity part does not know
// its origin, the next one does.
func (t *transfer) receiveWithOrigin() (part, error) {
	bytes, origin, err := t.zs.RecvBytesWithMetadata(zmq.DONTWAIT, originProperty)
	fd, _ := strconv.Atoi(origin[originProperty])
	return part{bytes: bytes, origin: fd}, err
}

// originProperty is how libzmq names what ZMQ_SRCFD returns.
const originProperty = "__fd"

// send copies a block as it copies everything else.
func (t *transfer) send(p *peer, f *frame) (verdict, error) {
	if !t.router {
		return judge(t.part(f.buf, zmq.DONTWAIT))
	}
	if v, err := judge(t.part(p.identity, zmq.DONTWAIT|zmq.SNDMORE)); v != taken {
		return v, err
	}
	if p.delimiter {
		if err := t.finish(nil, zmq.DONTWAIT|zmq.SNDMORE); err != nil {
			return impossible, err
		}
	}
	if err := t.finish(f.buf, zmq.DONTWAIT); err != nil {
		return impossible, err
	}
	return taken, nil
}

// part sends one part and returns libzmq's answer, 0 where it took it.
func (t *transfer) part(b []byte, flags zmq.Flag) zmq.Errno {
	if _, err := t.zs.SendBytes(b, flags); err != nil {
		return zmq.AsErrno(err)
	}
	return 0
}

func (t *transfer) finish(b []byte, flags zmq.Flag) error {
	const tries = 1000
	answer := zmq.Errno(0)
	for range tries {
		answer = t.part(b, flags)
		if answer != errAgain && answer != errInterrupted {
			break
		}
		runtime.Gosched()
	}
	if answer != 0 {
		return fmt.Errorf("zmqio: send: %w", answer)
	}
	return nil
}

// readable looks at ZMQ_EVENTS, which also lets libzmq take note of what its
// I/O threads have reported. After it ZMQ_FD will not fire for what it saw.
func (t *transfer) readable() bool {
	events, err := t.zs.GetEvents()
	return err != nil || events&zmq.POLLIN != 0
}
