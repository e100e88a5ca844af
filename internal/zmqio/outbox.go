package zmqio

import (
	"sync"

	"github.com/limpet-rpc/limpet/internal/wire"
)

const (
	// frameFull is where a frame stops taking further envelopes, and where a
	// sender flushes without waiting for company.
	frameFull = 32 << 10
	// frameKept is the largest buffer that goes back to the pool.
	frameKept = 256 << 10
)

// frame is one body frame in the making.
type frame struct {
	buf       []byte
	block     *Block // whose frame buf is, or nil
	envelopes int
	next      *frame
}

var frames = sync.Pool{New: func() any { return &frame{buf: make([]byte, 0, 1024)} }}

func newFrame() *frame {
	f := frames.Get().(*frame)
	f.buf, f.envelopes, f.next = wire.AppendHead(f.buf[:0]), 0, nil
	return f
}

// recycle gives a frame back and returns the one behind it.
func (f *frame) recycle() (next *frame) {
	next = f.next
	if f.block != nil {
		f.block.Release()
		return next
	}
	if cap(f.buf) <= frameKept {
		f.next = nil
		frames.Put(f)
	}
	return next
}

// outbox is what waits for one peer, in order, cut into frames. Its bytes
// include the frames that a flusher has taken and not yet sent.
type outbox struct {
	head, tail *frame
	bytes      int
}

func (o *outbox) fits(size, limit int) bool {
	return o.bytes == 0 || o.bytes+size <= limit
}

func (o *outbox) add(env []byte) {
	if o.tail == nil || o.tail.block != nil || len(o.tail.buf) >= frameFull {
		o.extend(newFrame())
	}
	before := len(o.tail.buf)
	o.tail.buf = wire.AppendEnvelope(o.tail.buf, env)
	o.tail.envelopes++
	o.bytes += len(o.tail.buf) - before
}

// addBlock adds a frame of its own, with a reference of its own.
func (o *outbox) addBlock(b *Block) {
	b.Retain()
	o.extend(&frame{buf: b.frame, block: b, envelopes: 1})
}

func (o *outbox) extend(f *frame) {
	if o.tail == nil {
		o.head = f
	} else {
		o.tail.next = f
	}
	o.tail = f
	o.bytes += len(f.buf)
}

// take hands all frames over to a flusher; they stay in bytes until sent or
// discarded says otherwise.
func (o *outbox) take() *frame {
	f := o.head
	o.head, o.tail = nil, nil
	return f
}

// sent gives up the bytes of frames that libzmq has taken.
func (o *outbox) sent(bytes int) { o.bytes -= bytes }

// restore puts back what a flusher could not send, before what was added since.
func (o *outbox) restore(first *frame) {
	last := first
	for last.next != nil {
		last = last.next
	}
	last.next = o.head
	if o.tail == nil {
		o.tail = last
	}
	o.head = first
}

// discard empties the outbox and returns how many envelopes were lost.
func (o *outbox) discard() (lost int) {
	for f := o.take(); f != nil; f = f.recycle() {
		lost += f.envelopes
	}
	o.bytes = 0
	return lost
}
