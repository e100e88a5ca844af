package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/limpet-rpc/limpet/internal/chunk"
)

// Stream runs a method and returns its result, which must be bytes, to be read as
// it comes. It blocks until the first of it has come, or the call has ended. The
// worker is held up while nobody reads; one that is not read for long gives the
// rest up. Read ends with io.EOF only once the call is known to be done, otherwise
// with the error that Call has. Close cancels a call that goes on; so does the end
// of ctx. Argument and errors are those of Call.
func (s *Session) Stream(ctx context.Context, method string, arg any, opts ...CallOption) (io.ReadCloser, error) {
	r, err := s.stream(ctx, method, arg, opts)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", method, err)
	}
	return r, nil
}

func (s *Session) stream(ctx context.Context, method string, arg any, opts []CallOption) (io.ReadCloser, error) {
	p := s.Go(ctx, method, arg, opts...)
	w := p.reply
	select {
	case news := <-w.done:
		w.heard(news)
	case <-ctx.Done():
		defer w.feed.stop()
		return nil, s.cut(ctx, w, p, ctx.Err())
	}
	if w.seen == nil {
		var b []byte
		defer w.feed.stop()
		if err := w.take(ctx, &b); err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	own, stop := context.WithCancel(ctx)
	return &Stream{s: s, p: p, stop: stop, ctx: own, r: chunk.NewReader(own, &incoming{s.client, w}, w.sums)}, nil
}

// Stream is a reply that is read as it comes. One goroutine may read it while
// another one closes it.
type Stream struct {
	s    *Session
	p    *Pending
	stop context.CancelFunc
	ctx  context.Context //nolint:containedctx // its reads are its call's

	mu   sync.Mutex // held while it is read
	r    *chunk.Reader
	err  error
	done bool
}

// Read implements io.Reader.
func (r *Stream) Read(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		return 0, r.err
	}
	n, err := r.r.Read(b)
	if err != nil {
		err = r.end(err)
	}
	return n, err
}

// WriteTo implements io.WriterTo.
func (r *Stream) WriteTo(to io.Writer) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done {
		return 0, r.err
	}
	n, err := r.r.WriteTo(to)
	if !r.p.reply.over && r.ctx.Err() == nil {
		return n, err // the writer's: the stream goes on
	}
	if err == nil {
		err = io.EOF
	}
	if err = r.end(err); errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// Close implements io.Closer. It blocks for a moment where the worker has to say
// that the call is cancelled.
func (r *Stream) Close() error {
	r.stop()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.done {
		_ = r.end(context.Canceled)
	}
	return nil
}

// end notes why there is nothing more to read, and has the call end where it has
// not.
func (r *Stream) end(why error) error {
	r.done, r.err = true, why
	r.r.Stop(why)
	r.stop()
	w := r.p.reply
	defer w.feed.stop()
	defer r.s.client.unread(w.seen)
	switch {
	case !w.over:
		if ended := r.p.ctx.Err(); ended != nil {
			why = ended
		}
		r.err = r.s.cut(r.p.ctx, w, r.p, why)
	case w.err != nil:
		r.err = w.take(r.p.ctx, nil)
	case errors.Is(why, io.EOF) && !w.raw:
		r.err = errNoBytes()
	}
	if !errors.Is(r.err, io.EOF) {
		r.err = fmt.Errorf("call %s: %w", r.p.name, r.err)
	}
	return r.err
}
