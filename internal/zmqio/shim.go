//go:build !limpet_pure_zmq

package zmqio

/*
#cgo pkg-config: libzmq
#cgo noescape limpet_receive
#cgo nocallback limpet_receive
#cgo noescape limpet_send
#cgo nocallback limpet_send
#cgo noescape limpet_readable
#cgo nocallback limpet_readable
#include "shim.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"reflect"

	zmq "github.com/pebbe/zmq4"
)

// transfer is the socket, which the binding makes, configures, binds and closes,
// and its side of the shim.
type transfer struct {
	zs     *zmq.Socket
	router bool
	port   port
}

// arenaSize is how much memory small parts share. Who keeps an envelope keeps
// its arena: no more than a frame of many envelopes would be.
const arenaSize = 32 << 10

// arena is where a loop's sockets put small parts, one behind the other. What is
// used is not used again, for handlers may keep it, unless they say that they do
// not.
type arena struct{ whole, rest []byte }

func (a *arena) renew() {
	a.whole = make([]byte, arenaSize)
	a.rest = a.whole
}

// reuse takes the arena back from handlers that have kept nothing of it.
func (a *arena) reuse() { a.rest = a.whole }

// port is a socket's side of the shim: what it has received in one crossing and
// not handed out yet.
type port struct {
	c     *C.limpet_port
	arena *arena // the loop's

	next, count int    // of c.parts
	own         []byte // part 0 is here, if it is not nil
	memory      []byte // where the others are
	emptied     bool   // after them the socket has no more
}

var errNoHandle = errors.New("zmqio: this version of the ZeroMQ binding does not show its sockets; build with the tag limpet_pure_zmq")

// open makes the socket's side of the shim, which has to know libzmq's handle of
// the socket.
func (t *transfer) open(a *arena) error {
	handle := reflect.ValueOf(t.zs).Elem().FieldByName("soc")
	if !handle.IsValid() || handle.Kind() != reflect.UnsafePointer || handle.IsNil() {
		return errNoHandle
	}
	router := C.int(0)
	if t.router {
		router = 1
	}
	t.port.arena = a
	t.port.c = C.limpet_open(handle.UnsafePointer(), router)
	if t.port.c == nil {
		return errors.New("zmqio: out of memory")
	}
	return nil
}

// askOrigins lets the first part behind an identity say where it came from.
func (t *transfer) askOrigins() { t.port.c.origins = 1 }

func (t *transfer) close() error {
	if t.port.c != nil {
		C.limpet_close(t.port.c)
		t.port = port{}
	}
	return t.zs.Close()
}

// lookAgain forgets that there was nothing more: that was at the last batch.
func (t *transfer) lookAgain() { t.port.emptied = false }

// receive returns the next part. ok is false when there is none.
func (t *transfer) receive(w want) (p part, ok bool, err error) {
	q := &t.port
	for q.next == q.count {
		if w.block && q.c.holding != 0 && q.c.waiting.more == 0 && q.c.waiting.size >= BlockMin {
			origin := int(q.c.waiting.origin)
			if b := q.takeBlock(); b != nil {
				return part{bytes: b.frame, origin: origin, block: b}, true, nil
			}
		}
		if q.emptied {
			q.emptied = false
			return part{}, false, nil
		}
		if err := t.cross(); err != nil {
			return part{}, false, err
		}
	}
	p = q.at(q.next)
	q.next++
	return p, true, nil
}

// at is one of the parts of the last crossing.
func (q *port) at(i int) part {
	c := &q.c.parts[i]
	memory := q.memory
	if i == 0 && q.own != nil {
		memory = q.own
	}
	end := c.offset + c.size
	return part{bytes: memory[c.offset:end:end], more: c.more != 0, origin: int(c.origin)}
}

// cross receives what there is. A part that found no room the last time gets it
// now: memory of its own if it is large, a new arena if it is not.
func (t *transfer) cross() error {
	q := &t.port
	var own *C.uchar
	q.own = nil
	if q.c.holding != 0 && q.c.waiting.size > C.LIMPET_LARGE {
		q.own = make([]byte, q.c.waiting.size)
		own = (*C.uchar)(&q.own[0])
	}
	if len(q.arena.rest) == 0 || q.c.holding != 0 && own == nil {
		q.arena.renew()
	}
	C.limpet_receive(q.c, own, (*C.uchar)(&q.arena.rest[0]), C.uint32_t(len(q.arena.rest)))
	q.next, q.count, q.memory = 0, int(q.c.count), q.arena.rest
	q.arena.rest = q.arena.rest[q.used():]
	switch answer := zmq.Errno(q.c.error); answer {
	case 0:
	case errAgain:
		q.emptied = true
	default:
		return fmt.Errorf("zmqio: receive: %w", answer)
	}
	return nil
}

// used is how much of the arena the last crossing has filled.
func (q *port) used() int {
	if q.count == 0 || q.count == 1 && q.own != nil {
		return 0
	}
	last := &q.c.parts[q.count-1]
	return int(last.offset + last.size)
}

func (t *transfer) send(p *peer, f *frame) (verdict, error) {
	if f.block != nil {
		return t.sendBlock(p, f)
	}
	identity, size, delimiter := t.address(p)
	return t.verdict(C.limpet_send(t.port.c, identity, size, delimiter, (*C.uchar)(&f.buf[0]), C.uint32_t(len(f.buf))))
}

// address is what precedes a body on its way to p.
func (t *transfer) address(p *peer) (identity *C.uchar, size C.uint32_t, delimiter C.int) {
	if !t.router {
		return nil, 0, 0
	}
	if p.delimiter {
		delimiter = 1
	}
	return (*C.uchar)(&p.identity[0]), C.uint32_t(len(p.identity)), delimiter
}

// verdict reads what the shim says of a message.
func (t *transfer) verdict(answer C.int) (verdict, error) {
	if answer < 0 {
		return impossible, fmt.Errorf("zmqio: send: %w", zmq.Errno(-answer))
	}
	return judge(zmq.Errno(answer))
}

// readable looks at ZMQ_EVENTS, which also lets libzmq take note of what its
// I/O threads have reported. After it ZMQ_FD will not fire for what it saw. Parts
// that were received and not handed out count too.
func (t *transfer) readable() bool {
	return t.port.next < t.port.count || t.port.c.holding != 0 || C.limpet_readable(t.port.c) != 0
}
