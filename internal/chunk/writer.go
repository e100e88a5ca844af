package chunk

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"sync"

	"github.com/limpet-rpc/limpet/session"
)

// Sink takes a Writer's blocks.
type Sink interface {
	// Give takes a block, which is the sink's from then on, unless it Waits or has
	// Ended.
	Give(b *Block, bell Bell) (Look, error)
}

// Writer cuts what is written into chunks. It is for one goroutine at a time, but for
// Stop, as a Reader is.
type Writer struct {
	// fixed
	ctx  context.Context //nolint:containedctx // its writes are its call's
	to   Sink
	bell Bell
	sums bool

	mu   sync.Mutex // not held by who waits, or reads
	now  *Block     // being filled; nil: none
	lent bool       // somebody reads into it
	sum  uint32
	err  error
}

// errLent is a second use of a writer while somebody's Read fills what it has gathered.
var errLent = errors.New("somebody else still writes: ReadFrom has not returned")

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
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alone()
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
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alone()
	for w.err == nil {
		m, err := w.fill(r)
		if w.err != nil { // stopped meanwhile
			break
		}
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

// fill reads into the block, whose memory stays until that has ended. The caller holds
// mu, and has it again.
func (w *Writer) fill(r io.Reader) (n int, err error) {
	b := w.block()
	w.lent = true
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		if w.lent = false; w.err != nil {
			w.drop()
			return
		}
		b.grow(n)
	}()
	return r.Read(b.space())
}

// Flush sends what has gathered.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.alone(); w.err == nil && w.now != nil && len(w.now.Body()) > 0 {
		w.push()
	}
	return w.err
}

// Sum is the CRC-32C of what has been sent; zero where none is made.
func (w *Writer) Sum() uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sum
}

// Stop gives back what has gathered, once nobody reads into that any more. What ended
// the writer before counts. It does not wait.
func (w *Writer) Stop(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.drop()
	w.bell.Ring()
}

// alone ends the writer where somebody reads into its block: neither may that be sent
// then, nor anything behind it.
func (w *Writer) alone() {
	if w.lent && w.err == nil {
		w.err = errLent
	}
}

func (w *Writer) drop() {
	if w.now != nil && !w.lent {
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
// is given as its bytes alone: it counts for no more than it holds. The caller holds mu.
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
			w.mu.Unlock()
			err := w.bell.wait(w.ctx)
			if w.mu.Lock(); w.err == nil {
				w.err = err
			}
		default:
			w.sum = sum
			if w.now != nil {
				w.now.empty()
			}
			return
		}
	}
	b.Drop()
	w.drop()
}
