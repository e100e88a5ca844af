package zmqio

import (
	"sync"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmtp"
)

const (
	// frameFull is where a frame stops taking further envelopes, and where a
	// sender flushes without waiting for company.
	frameFull = 32 << 10
	// frameKept is the largest buffer that goes back to the pool.
	frameKept = 256 << 10
)

// frame is one message in the making: room for its head, and its body. The body
// of a block's frame is the block's, which others may be sending too, so its head
// lies apart.
type frame struct {
	buf       []byte          // zmtp.Room bytes and the body; nil for a block's
	block     *Block          // nil, or whose frame the body is
	head      [zmtp.Room]byte // of a block's
	begins    int             // where in buf or head the message begins
	sent      int             // of its bytes from there on
	envelopes int
	next      *frame
}

var frames = sync.Pool{New: func() any { return &frame{buf: make([]byte, 0, 1024)} }}

func newFrame() *frame {
	f := frames.Get().(*frame)
	f.buf = wire.AppendHead(f.buf[:zmtp.Room])
	f.sent, f.envelopes, f.next = 0, 0, nil
	return f
}

func (f *frame) body() []byte {
	if f.block != nil {
		return f.block.frame
	}
	return f.buf[zmtp.Room:]
}

// address writes the head. It is called before anything of the frame is sent.
func (f *frame) address(delimiter bool) {
	if f.block != nil {
		f.begins = zmtp.Precede(f.head[:], zmtp.Room, len(f.block.frame), delimiter)
		return
	}
	f.begins = zmtp.Precede(f.buf, zmtp.Room, len(f.buf)-zmtp.Room, delimiter)
}

// left is how many bytes of the message have not been sent.
func (f *frame) left() int { return zmtp.Room - f.begins + len(f.body()) - f.sent }

// pieces appends what has not been sent.
func (f *frame) pieces(to [][]byte) [][]byte {
	if f.block == nil {
		return append(to, f.buf[f.begins+f.sent:])
	}
	head := f.head[f.begins:]
	if f.sent < len(head) {
		return append(to, head[f.sent:], f.block.frame)
	}
	return append(to, f.block.frame[f.sent-len(head):])
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

// outbox is what waits for one peer, in order, cut into frames. Its bytes, those
// of bodies, include the frames that a flusher has taken and not yet sent.
type outbox struct {
	head, tail *frame
	bytes      int
}

func (o *outbox) fits(size, limit int) bool {
	return o.bytes == 0 || o.bytes+size <= limit
}

// add puts the envelope into the last frame, unless that is full or on its way.
func (o *outbox) add(env []byte) {
	if o.tail == nil || o.tail.block != nil || o.tail.sent > 0 || len(o.tail.buf) >= frameFull {
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
	o.extend(&frame{block: b, envelopes: 1})
}

func (o *outbox) extend(f *frame) {
	if o.tail == nil {
		o.head = f
	} else {
		o.tail.next = f
	}
	o.tail = f
	o.bytes += len(f.body())
}

// take hands all frames over to a flusher; they stay in bytes until sent or
// discarded says otherwise.
func (o *outbox) take() *frame {
	f := o.head
	o.head, o.tail = nil, nil
	return f
}

// sent gives up the bytes of frames that the kernel has taken.
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

// again has the first frame sent from its beginning: the connection that had taken
// a part of it is no more, and nobody has got it.
func (o *outbox) again() {
	if o.head != nil {
		o.head.sent = 0
	}
}

// discard empties the outbox and returns how many envelopes were lost.
func (o *outbox) discard() (lost int) {
	for f := o.take(); f != nil; f = f.recycle() {
		lost += f.envelopes
	}
	o.bytes = 0
	return lost
}
