package zmqio

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmtp"
)

const (
	// readLeast is how much room a read has at least, behind what is held.
	readLeast = 8 << 10
	// heldMost is the largest frame that is held until it is whole; a larger one
	// is read into memory of its own.
	heldMost = 16 << 10
	// comingFirst is how much memory a large frame gets at first.
	comingFirst = 256 << 10
	// headOfNext is how much of what follows a chunk is read with it, or before it: what
	// is read like that is copied.
	headOfNext = 64
	// enoughMost is how much of a large frame is waited for, and waitsMost how many
	// inspections long.
	enoughMost = 256 << 10
	waitsMost  = 2
	// piecesAtOnce is how many pieces of memory one write sends.
	piecesAtOnce = 16
)

// link is one connection, TCP or unix.
//
//	connecting ─→ greeting ─64 bytes─→ shaking ─READY─→ flowing
//	     └────────────┴───────────────────┴───────────────┴──→ severed
//
// Everything in it is guarded by its socket's mu. Only the loop reads from it and
// ends it; whoever holds mu writes.
type link struct {
	watch  watch
	socket *socket // fixed
	stage  linkStage
	peer   *peer // who speaks here, or nil: not yet, or forgotten

	held    []byte    // read, and no whole frame yet
	coming  coming    // the frame that is read into memory of its own
	skip    uint64    // bytes of a frame that nobody wants
	message assembly  // of the frames so far
	silent  int       // inspections since something was read
	unused  int       // inspections since a message was read or written
	pings   bool      // the far side answers a PING
	control []byte    // what this side says besides messages
	choked  bool      // the kernel takes nothing; the poller is asked to tell
	broken  bool      // a write has failed: what can still be read is read
	offence error     // what the far side has said that cannot be
	pieces  [][]byte  // memory of write
	rooms   [2][]byte // memory of receive
	large   bool      // freight, and the last frame was read into memory of its own
	enough  int       // bytes without which the poller does not tell of input; 0: any

	token   *token // by which a link for this one's freight says that it is; nil: none is to be had
	main    *link  // whose freight this one carries; nil: it is no such link
	freight *link  // the one that carries this one's; nil: none
}

type linkStage uint8

const (
	connecting linkStage = iota
	greeting
	shaking
	flowing
	severed
)

// coming is a large frame on its way.
type coming struct {
	bytes  []byte // nil: there is none; longer as it fills, up to size
	filled int
	size   int
	block  *Block // whose frame bytes are, or nil
}

// receive reads once and takes what has come. more says that there may be more.
// The errors are reasons to cut the link; io.EOF is the far side's end.
func (k *link) receive() (n int, more bool, err error) {
	arena := &k.socket.loop.arena
	if k.coming.bytes != nil {
		return k.receiveComing(arena)
	}
	room := arena.room(len(k.held) + readLeast)
	before := copy(room, k.held)
	if room = room[before:]; k.large && before == 0 {
		room = room[:headOfNext]
	}
	room = room[:min(len(room), k.socket.loop.share)]
	n, more, err = readStream(k.watch.fd, room)
	if n == 0 {
		return 0, false, err
	}
	return n, more, k.understand(arena, before+n)
}

// receiveComing reads what there is of a large frame into its memory, and of freight
// the head of what follows it too.
func (k *link) receiveComing(arena *arena) (n int, more bool, err error) {
	c := &k.coming
	room := c.bytes[c.filled:]
	if k.main == nil || len(c.bytes) < c.size {
		n, more, err = readStream(k.watch.fd, room)
		c.filled += n
		k.fill()
		return n, more, err
	}
	if slice := k.socket.loop.slice(); len(room) > slice {
		n, more, err = readStream(k.watch.fd, room[:slice])
		c.filled += n
		return n, more, err
	}
	k.rooms = [2][]byte{room, arena.room(readLeast)[:headOfNext]}
	n, more, err = scatterStream(k.watch.fd, k.rooms[:])
	k.rooms = [2][]byte{}
	beyond := max(0, n-len(room))
	c.filled += n - beyond
	if k.fill(); beyond > 0 {
		err = k.understand(arena, beyond)
	}
	return n, more, err
}

// understand takes what has been read into the arena, and holds what is no whole
// frame.
func (k *link) understand(arena *arena, n int) (err error) {
	data := arena.rest[:n]
	taken, err := k.take(data)
	k.offence = err
	arena.use(taken)
	k.hold(data[taken:])
	return err
}

// await has the poller tell of a large frame only once there is enough of it to be
// worth the trouble. Where that does not come soon, see inspect, any will do.
func (k *link) await() {
	enough := 0
	if c := &k.coming; c.bytes != nil && k.silent < waitsMost {
		enough = min(c.size-c.filled, enoughMost)
	}
	if enough != k.enough && waitFor(k.watch.fd, enough) {
		k.enough = enough
	}
}

// hold keeps what is no whole frame yet until the next read.
func (k *link) hold(rest []byte) {
	if len(rest) == 0 && cap(k.held) > readLeast {
		k.held = nil
		return
	}
	k.held = append(k.held[:0], rest...)
}

// scatterStream is readStream into two pieces.
func scatterStream(fd int, into [][]byte) (n int, more bool, err error) {
	for {
		n, err = unix.Readv(fd, into)
		if done, err := settled(n, err); done {
			return max(n, 0), n == len(into[0])+len(into[1]), err
		}
	}
}

// readStream reads what is there. It returns no error where that is nothing.
func readStream(fd int, into []byte) (n int, more bool, err error) {
	for {
		n, err = unix.Read(fd, into)
		if done, err := settled(n, err); done {
			return max(n, 0), n == len(into), err
		}
	}
}

// settled judges what a read has returned; where it is not done it was interrupted.
func settled(n int, failed error) (done bool, err error) {
	switch {
	case n > 0:
		return true, nil
	case failed == nil:
		return true, io.EOF
	case errors.Is(failed, unix.EINTR):
		return false, nil
	case errors.Is(failed, unix.EAGAIN):
		return true, nil
	}
	return true, failed
}

// take understands as much of data as it can and returns how much that was.
func (k *link) take(data []byte) (taken int, err error) {
	for taken < len(data) && err == nil {
		var n int
		switch rest := data[taken:]; k.stage {
		case greeting:
			n, err = k.greeted(rest)
		case shaking:
			n, err = k.shake(rest)
		default:
			n, err = k.frame(rest)
		}
		if n == 0 {
			break
		}
		taken += n
	}
	return taken, err
}

func (k *link) greeted(data []byte) (n int, err error) {
	whole, err := zmtp.CheckGreeting(data)
	if err != nil || !whole {
		return 0, err
	}
	k.pings = zmtp.AnswersPing(data)
	k.ready()
	k.stage = shaking
	return zmtp.GreetingSize, nil
}

// shake takes the command that ends the handshake.
func (k *link) shake(data []byte) (n int, err error) {
	body, n, err := command(data)
	if err != nil || n == 0 {
		return 0, err
	}
	name, rest, err := zmtp.SplitCommand(body)
	switch {
	case err != nil:
		return 0, err
	case name == zmtp.Error:
		return 0, fmt.Errorf("zmqio: the far side refuses the connection: %q", zmtp.ReadError(rest))
	case name != zmtp.Ready:
		return 0, fmt.Errorf("%w: %q instead of READY", zmtp.ErrCommand, name)
	}
	kind, err := zmtp.ReadReady(rest)
	if err != nil {
		return 0, err
	}
	if !k.socket.kind.Fits(kind) {
		err = fmt.Errorf("zmqio: a %s cannot be connected to a %s", kind, k.socket.kind)
		k.control = zmtp.AppendError(k.control, err.Error())
		return 0, err
	}
	if err := k.socket.admit(k, rest); err != nil {
		k.control = zmtp.AppendError(k.control, err.Error())
		return 0, err
	}
	k.stage = flowing
	k.socket.flows(k)
	return n, nil
}

// command returns the body of a command frame, n is 0 where it is not whole yet.
func command(data []byte) (body []byte, n int, err error) {
	h, n, err := zmtp.ReadHead(data)
	if err != nil || n == 0 {
		return nil, 0, err
	}
	if !h.Command || h.Size > zmtp.MaxCommand {
		return nil, 0, fmt.Errorf("%w: a message, or one of %d bytes", zmtp.ErrCommand, h.Size)
	}
	end := n + int(h.Size)
	if len(data) < end {
		return nil, 0, nil
	}
	return data[n:end], end, nil
}

// frame takes one frame, or what is there of it.
func (k *link) frame(data []byte) (n int, err error) {
	if k.skip > 0 {
		n := min(k.skip, uint64(len(data)))
		k.skip -= n
		return int(n), nil
	}
	h, n, err := zmtp.ReadHead(data)
	switch {
	case err != nil || n == 0:
		return 0, err
	case h.Command:
		return k.commanded(data)
	case h.Size > wire.MaxFrame:
		return 0, fmt.Errorf("%w: %d bytes, at most %d are taken", zmtp.ErrFrame, h.Size, wire.MaxFrame)
	}
	size, rest := int(h.Size), data[n:]
	wanted := k.message.expects(h.More)
	whole := len(rest) >= size && (size < BlockMin || !wanted || k.socket.loop.blocks == nil)
	if !whole && wanted && size <= heldMost || size > 0 && len(rest) == 0 {
		return 0, nil // the first byte of a body tells it from a delimiter
	}
	k.message.size += n + size
	if k.message.size > k.socket.loop.options.Unfinished && h.More {
		return 0, ErrUnfinished
	}
	there := min(size, len(rest))
	switch {
	case whole:
		k.large = false
		k.add(part{bytes: rest[:size:size], more: h.More})
	case !wanted:
		k.skip = uint64(size - there)
		k.add(part{bytes: rest[:there:there], more: h.More}) // of which nothing is kept
	default:
		k.expect(size, rest[:there])
	}
	return n + there, nil
}

// expect makes room for a large body of which the first bytes are there.
func (k *link) expect(size int, there []byte) {
	if size >= BlockMin && k.socket.loop.blocks != nil {
		k.coming.block = comingBlock(size)
	}
	if k.coming.block != nil {
		k.coming.bytes = k.coming.block.frame
	} else {
		k.coming.bytes = make([]byte, min(size, max(len(there), comingFirst)))
	}
	k.coming.size = size
	k.large = k.main != nil
	k.coming.filled = copy(k.coming.bytes, there)
	k.fill()
}

// fill makes more room for a large body as what there was has been filled, so that
// a head alone takes little memory, and takes the body that is whole.
func (k *link) fill() {
	c := &k.coming
	switch {
	case c.filled == c.size:
		k.came()
	case c.filled == len(c.bytes):
		longer := make([]byte, min(c.size, 2*len(c.bytes)))
		copy(longer, c.bytes)
		c.bytes = longer
	}
}

// came adds the large body, which is whole now.
func (k *link) came() {
	c := k.coming
	k.coming = coming{}
	if c.block != nil {
		arrived(len(c.bytes))
	}
	k.add(part{bytes: c.bytes, block: c.block})
}

// halfway reports whether the far side has begun something that it has not ended.
func (k *link) halfway() bool {
	return k.coming.bytes != nil || k.skip > 0 || len(k.held) > 0 || k.message.size > 0
}

// add adds a frame to the message, which may be complete with it.
func (k *link) add(p part) {
	if k.message.add(p) {
		k.socket.arrived(k)
		k.message.begin()
	}
}

// commanded takes a command between messages.
func (k *link) commanded(data []byte) (n int, err error) {
	body, n, err := command(data)
	if err != nil || n == 0 {
		return 0, err
	}
	name, rest, err := zmtp.SplitCommand(body)
	if err != nil {
		return 0, err
	}
	switch name {
	case zmtp.Ping:
		if len(k.control) > zmtp.MaxCommand {
			break // it does not read what it asks for: one answer less
		}
		k.control, err = zmtp.AppendPong(k.control, rest)
	case zmtp.Error:
		err = fmt.Errorf("zmqio: the far side ends the connection: %q", zmtp.ReadError(rest))
	}
	return n, err // a PONG has been read, which is what it is for; others are of later versions
}

// write sends what waits here: what keeps the connection going, and what the peer
// is to get. It returns the frames that the kernel has taken, and the rest.
func (k *link) write(next *frame) (frames, bytes, envelopes int, rest *frame) {
	for !k.choked && !k.broken {
		pieces, size := k.collect(next)
		if size == 0 {
			break
		}
		n, err := writeStream(k.watch.fd, pieces)
		clear(k.pieces)
		if err != nil {
			k.fail()
			break
		}
		if next == nil || next.sent == 0 {
			said := min(n, len(k.control))
			k.control = k.control[:copy(k.control, k.control[said:])]
			n, size = n-said, size-said
		}
		short := n < size
		for next != nil && n > 0 {
			left := next.left()
			if n < left {
				next.sent += n
				break
			}
			n -= left
			frames++
			bytes += len(next.body())
			envelopes += next.envelopes
			next = next.recycle()
		}
		if short {
			k.choke()
		}
		if k.main != nil && (next != nil || len(k.control) == 0) {
			break // a slice at a time, and what is said besides behind the last one
		}
	}
	return frames, bytes, envelopes, next
}

// collect lists the pieces of the next write. What is said besides messages goes
// between them.
func (k *link) collect(next *frame) (pieces [][]byte, size int) {
	pieces = k.pieces[:0]
	waits := 0
	if next != nil && next.sent > 0 {
		pieces = next.pieces(pieces)
		next = nil // what follows it, after what is said
	} else if len(k.control) > 0 {
		pieces = append(pieces, k.control)
	}
	for f := next; f != nil && len(pieces) < piecesAtOnce-1; f = f.next {
		f.address(k.peer.delimiter)
		if waits += f.left(); k.main != nil && waits > k.socket.loop.slice() && len(pieces) > 0 {
			break // it begins a slice of its own
		}
		pieces = f.pieces(pieces)
	}
	k.pieces = pieces
	if k.main != nil {
		pieces = cut(pieces, k.socket.loop.slice())
	}
	for _, p := range pieces {
		size += len(p)
	}
	return pieces, size
}

// choke asks the poller to tell when the kernel takes more.
func (k *link) choke() {
	k.choked = true
	if err := k.socket.loop.poller.change(&k.watch, true); err != nil {
		k.fail()
	}
}

// relieve ends that.
func (k *link) relieve() {
	k.choked = false
	if err := k.socket.loop.poller.change(&k.watch, false); err != nil {
		k.fail()
	}
}

// fail notes that nothing can be written any more. The loop finds the end behind
// what is still to be read.
func (k *link) fail() {
	k.broken = true
	_ = unix.Shutdown(k.watch.fd, unix.SHUT_RDWR)
}

// writeStream writes what the kernel takes. It returns no error where that is
// nothing.
func writeStream(fd int, pieces [][]byte) (n int, err error) {
	for {
		if len(pieces) == 1 {
			n, err = unix.Write(fd, pieces[0])
		} else {
			n, err = unix.Writev(fd, pieces)
		}
		switch {
		case err == nil:
			return n, nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			return 0, nil
		default:
			return 0, err
		}
	}
}

// finish says that nothing more comes, and reads what the kernel still holds: to
// close a connection with input unread would break it, and lose what was sent.
func (k *link) finish() {
	_ = unix.Shutdown(k.watch.fd, unix.SHUT_WR)
	into := make([]byte, readLeast)
	for size := 0; size < batchBytes; {
		n, _, err := readStream(k.watch.fd, into)
		if n == 0 || err != nil {
			return
		}
		size += n
	}
}
