package chunk

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"sync"

	"github.com/limpet-rpc/limpet/session"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Bell is rung by a core's owner when there may be something new.
type Bell chan struct{}

// NewBell returns one.
func NewBell() Bell { return make(Bell, 1) }

// Ring lets whoever waits look again.
func (b Bell) Ring() {
	select {
	case b <- struct{}{}:
	default: // it has been rung and not heard yet
	}
}

// wait blocks until the bell rings or ctx ends.
func (b Bell) wait(ctx context.Context) error {
	select {
	case <-b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Look is what a look at a core finds.
type Look uint8

// What a look at a core finds.
const (
	Moves Look = iota
	Waits      // nothing now: the bell rings
	Ended
)

// Source is where a Reader's chunks come from: the next one, which is the
// reader's from then on.
type Source interface {
	Take(bell Bell) (session.Chunk, Look, error)
	// End says, behind the last byte, whether all is well: io.EOF. Sum is the
	// CRC-32C of what was read.
	End(sum uint32) error
}

// Reader reads what comes as chunks. It is for one goroutine at a time, but for Stop,
// which finds another one where a handler has left that behind with it.
type Reader struct {
	// fixed
	ctx  context.Context //nolint:containedctx // its reads are its call's
	from Source
	bell Bell
	sums bool

	mu   sync.Mutex // not held by who waits, or writes
	part session.Chunk
	rest []byte
	lent bool // somebody writes rest
	sum  uint32
	err  error
}

// NewReader returns a reader whose waiting ends with ctx. One that sums makes a
// checksum of what is read.
func NewReader(ctx context.Context, from Source, sums bool) *Reader {
	return &Reader{ctx: ctx, from: from, bell: NewBell(), sums: sums}
}

// Read implements io.Reader. It blocks while nothing has come.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.fill() {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: each chunk is written from where it lies.
func (r *Reader) WriteTo(w io.Writer) (n int64, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.fill() {
		m, err := r.lend(w)
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
	if errors.Is(r.err, io.EOF) {
		return n, nil
	}
	return n, r.err
}

// lend writes what there is, whose memory stays until that has ended. The caller holds
// mu, and has it again.
func (r *Reader) lend(w io.Writer) (n int, err error) {
	rest := r.rest
	r.lent = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.lent = false
		if r.rest = rest[max(0, min(n, len(rest))):]; r.err != nil { // stopped meanwhile
			r.drop()
		}
	}()
	return w.Write(rest)
}

// fill has something to read, unless it has come to the end. The caller holds mu.
func (r *Reader) fill() bool {
	for r.err == nil && len(r.rest) == 0 {
		r.part.Drop()
		part, look, err := r.from.Take(r.bell)
		switch {
		case err != nil:
			r.err = err
		case look == Ended:
			r.err = r.from.End(r.sum)
		case look == Waits:
			r.mu.Unlock()
			err := r.bell.wait(r.ctx)
			if r.mu.Lock(); r.err == nil {
				r.err = err
			}
		default:
			r.part, r.rest = part, part.Body
			if r.sums {
				r.sum = crc32.Update(r.sum, castagnoli, part.Body)
			}
		}
	}
	return len(r.rest) > 0
}

// Stop ends the reader and gives its memory back, once nobody writes that any more. What
// ended it before counts. It does not wait.
func (r *Reader) Stop(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	if !r.lent {
		r.drop()
	}
	r.bell.Ring()
}

func (r *Reader) drop() {
	r.rest = nil
	r.part.Drop()
}
