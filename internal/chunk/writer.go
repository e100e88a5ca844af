package chunk

import (
	"context"
	"errors"
	"hash/crc32"
	"io"

	"github.com/limpet-rpc/limpet/session"
)

// Sink takes a Writer's blocks.
type Sink interface {
	// Give takes a block, which is the sink's from then on, unless it Waits or has
	// Ended.
	Give(b *Block, bell Bell) (Look, error)
}

// Writer cuts what is written into chunks. It is for one goroutine at a time.
type Writer struct {
	ctx  context.Context //nolint:containedctx // its writes are its call's
	to   Sink
	bell Bell
	now  *Block // being filled; nil: none
	sums bool
	sum  uint32
	err  error
}

// ErrEnded is a write to what takes no more.
var ErrEnded = errors.New("nobody takes it any more")

// NewWriter returns a writer whose waiting ends with ctx. One that sums makes a
// checksum of what is written.
func NewWriter(ctx context.Context, to Sink, sums bool) *Writer {
	return &Writer{ctx: ctx, to: to, bell: NewBell(), sums: sums}
}

// Write implements io.Writer: a chunk leaves once it is full, see Flush. It
// blocks while there is no room for it.
func (w *Writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 && w.err == nil {
		b := w.block()
		m := copy(b.space(), p)
		b.grow(m)
		n, p = n+m, p[m:]
		if len(b.space()) == 0 {
			w.push()
		}
	}
	return n, w.err
}

// ReadFrom implements io.ReaderFrom. What one Read brings is sent at once.
func (w *Writer) ReadFrom(r io.Reader) (n int64, err error) {
	for w.err == nil {
		b := w.block()
		m, err := r.Read(b.space())
		b.grow(m)
		n += int64(m)
		if m > 0 {
			w.push()
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return n, w.err
			}
			return n, err
		}
	}
	return n, w.err
}

// Flush sends what has gathered.
func (w *Writer) Flush() error {
	if w.now != nil && len(w.now.Body()) > 0 {
		w.push()
	}
	return w.err
}

// Sum is the CRC-32C of what has been sent; zero where none is made.
func (w *Writer) Sum() uint32 { return w.sum }

// Stop gives back what has gathered. What ended the writer before counts.
func (w *Writer) Stop(err error) {
	if w.err == nil {
		w.err = err
	}
	if w.now != nil {
		w.now.Drop()
		w.now = nil
	}
}

func (w *Writer) block() *Block {
	if w.now == nil {
		w.now = NewBlock()
	}
	return w.now
}

// push gives the block away, as soon as there is room. One that is far from full
// is given as its bytes alone: it counts for no more than it holds.
func (w *Writer) push() {
	b := w.now
	if body := b.Body(); len(body) < session.MaxChunk/2 {
		b = small(body, len(body))
	} else {
		w.now = nil
	}
	b.seal()
	sum := w.sum
	if w.sums {
		sum = crc32.Update(sum, castagnoli, b.Body())
	}
	for w.err == nil {
		switch look, err := w.to.Give(b, w.bell); {
		case err != nil:
			w.err = err
		case look == Ended:
			w.err = ErrEnded
		case look == Waits:
			w.err = w.bell.wait(w.ctx)
		default:
			w.sum = sum
			if w.now != nil {
				w.now.empty()
			}
			return
		}
	}
	b.Drop()
	w.Stop(w.err)
}
