package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/chunk"
	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// argMost is the largest argument that one message carries.
const argMost = wire.MaxEnvelope - wire.HeaderSize - wire.MaxMethod

// encoded is an argument that is a body already.
type encoded struct {
	bytes []byte
	raw   bool
}

// inParts reports that an argument does not go in one message.
func inParts(arg any, opts []CallOption) bool {
	switch arg := arg.(type) {
	case []byte:
		if len(arg) > argMost {
			return true
		}
	case io.Reader:
		return true
	}
	return summed(opts)
}

func summed(opts []CallOption) bool {
	for _, o := range opts {
		if o.sum {
			return true
		}
	}
	return false
}

// parts is an argument that goes in parts: bytes, or what is read.
type parts struct {
	from io.Reader // nil: bytes
	encoded
	size int64 // below 0: unknown
}

func partsOf(arg any) (parts, error) {
	switch arg := arg.(type) {
	case encoded:
		return parts{encoded: arg, size: int64(len(arg.bytes))}, nil
	case []byte:
		return parts{encoded: encoded{arg, true}, size: int64(len(arg))}, nil
	case io.Reader:
		p := parts{from: arg, encoded: encoded{raw: true}, size: sizeOf(arg)}
		if _, file := arg.(*os.File); file && p.size >= 0 {
			p.from = io.LimitReader(arg, p.size) // it may grow
		}
		return p, nil
	}
	body, raw, err := codec.Append(nil, arg)
	return parts{encoded: encoded{body, raw}, size: int64(len(body))}, err
}

// sizeOf is how many bytes a reader has, below 0 where that is not known.
func sizeOf(r io.Reader) int64 {
	switch r := r.(type) {
	case *bytes.Reader:
		return int64(r.Len())
	case *bytes.Buffer:
		return int64(r.Len())
	case *strings.Reader:
		return int64(r.Len())
	case *os.File:
		info, err := r.Stat()
		if err != nil || !info.Mode().IsRegular() {
			return -1
		}
		at, err := r.Seek(0, io.SeekCurrent)
		if err != nil || at > info.Size() {
			return -1
		}
		return info.Size() - at
	}
	return -1
}

// callInParts is call for an argument that goes in parts.
func (s *Session) callInParts(ctx context.Context, w *replyTo, method string, arg, result any, opts []CallOption) error {
	if refused := s.beginInParts(ctx, w, w, method, arg, opts); refused != nil {
		w.release()
		return refused
	}
	defer w.feed.stop()
	return s.await(ctx, w, result)
}

// beginInParts begins a call whose argument goes in parts. Tag is who waits for
// it in the core.
func (s *Session) beginInParts(ctx context.Context, w *replyTo, tag any, method string, arg any, opts []CallOption) *session.Error {
	p, err := partsOf(arg)
	if err != nil {
		return &session.Error{Code: session.ErrBadArgument, Outcome: session.NotRun, Text: err.Error()}
	}
	sum := summed(opts)
	f := &feeder{s: s, tag: tag, parts: p, flow: s.client.core.NewFlow(), done: make(chan struct{})}
	ask := core.Ask{Method: method, Args: wire.AppendStream(nil, wire.Stream{Size: p.size, Sum: sum}), Raw: p.raw, Flow: f.flow, Tag: tag}
	ask.Deadline, _ = ctx.Deadline()
	say(&ask, opts)
	w.feed, w.sums = f, sum
	if refused := s.send(ask); refused != nil {
		w.feed = nil
		return refused
	}
	own, stop := context.WithCancel(context.Background())
	f.halt = stop
	go f.run(chunk.NewWriter(own, f, sum))
	return nil
}

// feeder gives an argument to the core, on a goroutine of its own: the one that
// calls waits for the reply meanwhile, which may come first.
type feeder struct {
	// fixed
	s    *Session
	tag  any
	flow *core.Flow
	parts
	halt context.CancelFunc
	done chan struct{} // closed at its end

	mu  sync.Mutex
	err error // of the reader
}

// run feeds to the end, or until the call has ended.
func (f *feeder) run(w *chunk.Writer) {
	defer close(f.done)
	var err error
	if f.from == nil {
		_, err = w.Write(f.bytes)
	} else {
		_, err = w.ReadFrom(f.from)
	}
	if err == nil {
		err = w.Flush()
	}
	switch {
	case err == nil:
		f.s.client.look(func(c *core.Core, fx *core.Effects) { c.FeedEnd(f.flow, w.Sum(), fx) })
	case errors.Is(err, chunk.ErrEnded) || errors.Is(err, context.Canceled):
	default:
		f.mu.Lock()
		f.err = fmt.Errorf("read the argument: %w", err)
		f.mu.Unlock()
		f.s.client.step(func(now time.Time, fx *core.Effects) {
			if !f.flow.Over() { // else the tag may be another call's by now
				f.s.client.core.Cancel(now, f.s.core, f.tag, session.ErrCancelled, fx)
			}
		})
	}
	w.Stop(chunk.ErrEnded)
}

// Give implements chunk.Sink.
func (f *feeder) Give(b *chunk.Block, bell chunk.Bell) (look chunk.Look, err error) {
	f.s.client.look(func(c *core.Core, fx *core.Effects) {
		look = lookOf(c.Feed(f.s.client.loop.Time(), f.flow, b.Body(), b, bell, fx))
	})
	return look, nil
}

// stop ends the feeding, whose call has ended. It waits, but for a reader that is
// being read: that may block for as long as it likes.
func (f *feeder) stop() {
	if f == nil {
		return
	}
	f.halt()
	if f.from == nil {
		<-f.done
	}
}

// blame says what the argument's reader did to its call.
func (f *feeder) blame(e *session.Error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		e.Cause = f.err
		e.Text = f.err.Error()
	}
}

// look runs a look at the core, also when the client has been closed.
func (c *Client) look(f func(c *core.Core, fx *core.Effects)) {
	fx := c.effects()
	c.mu.Lock()
	f(c.core, fx)
	c.mu.Unlock()
	c.finish(fx)
}

// unread gives back the memory of a reply, or nil, that nobody reads to its end.
func (c *Client) unread(f *core.Flow) {
	if f != nil {
		c.look(func(k *core.Core, _ *core.Effects) { k.Leave(f) })
	}
}

func lookOf(l core.Look) chunk.Look {
	switch l {
	case core.FlowMoves:
		return chunk.Moves
	case core.FlowWaits:
		return chunk.Waits
	default:
		return chunk.Ended
	}
}

// incoming is where a reply comes from. It belongs to who waits for the call.
type incoming struct {
	c *Client
	w *replyTo
}

// Take implements chunk.Source.
func (in *incoming) Take(bell chunk.Bell) (part session.Chunk, look chunk.Look, err error) {
	in.c.look(func(c *core.Core, fx *core.Effects) {
		var what core.Look
		part, what = c.Take(in.w.seen, bell, fx)
		look = lookOf(what)
	})
	return part, look, nil
}

// End implements chunk.Source: the call is settled.
func (in *incoming) End(sum uint32) error {
	w := in.w
	for !w.over {
		w.heard(<-w.done)
	}
	switch {
	case w.err != nil:
		return w.err
	case w.sums && w.sum && w.flow.Sum() != sum:
		return &session.Error{Code: session.ErrStream, Text: fmt.Sprintf("the reply's checksum is %08x, its worker says %08x", sum, w.flow.Sum())}
	}
	return io.EOF
}

// receive takes a reply that comes in parts: to result where that is an
// io.Writer, otherwise to memory, and decodes it.
func (s *Session) receive(ctx context.Context, w *replyTo, tag waiter, result any) error {
	r := chunk.NewReader(ctx, &incoming{s.client, w}, w.sums)
	to, writes := result.(io.Writer)
	var body []byte
	var err error
	var most *session.Error
	if writes {
		_, err = r.WriteTo(to)
	} else {
		body, most, err = collected(r, s.client.most)
	}
	r.Stop(chunk.ErrEnded)
	defer s.client.unread(w.seen)
	switch {
	case most != nil:
		err = s.refuse(w, tag, most)
	case err != nil && !w.over && ctx.Err() != nil:
		if !s.giveUp(w, tag, ctx.Err()) {
			return s.abandon(w, tag, ctx.Err())
		}
		if err = tooLate(ctx.Err()); w.err != nil {
			err = w.take(ctx, nil)
		}
	case err != nil && !w.over:
		err = s.refuse(w, tag, &session.Error{Code: session.ErrCancelled, Text: "the reply could not be written", Cause: err})
	case w.err != nil:
		err = w.take(ctx, nil)
	case err != nil:
	case writes && !w.raw:
		err = errNoBytes()
	case !writes:
		w.body = body // it is over: nobody settles it any more
		err = w.take(ctx, result)
	}
	if w.over {
		w.release()
	}
	return err
}

// refuse cancels a call whose reply is not taken any more, for a reason of this
// side's.
func (s *Session) refuse(w *replyTo, tag waiter, why *session.Error) error {
	if w.over {
		return why
	}
	why.Outcome = session.Unknown
	if !s.giveUp(w, tag, why) {
		_ = s.abandon(w, tag, why)
		return why
	}
	if why.Outcome = session.Done; w.err != nil {
		why.Outcome = w.err.Outcome
	}
	return why
}

// collected reads a whole reply of at most so many bytes.
func collected(r *chunk.Reader, most int) (body []byte, tooLarge *session.Error, err error) {
	var b bytes.Buffer
	n, err := b.ReadFrom(io.LimitReader(r, int64(most)+1))
	if n > int64(most) {
		return nil, &session.Error{
			Code: session.ErrTooLarge, Text: fmt.Sprintf("a reply of more than %d bytes: have it written, or read it as a stream", most),
		}, nil
	}
	return b.Bytes(), nil, err
}

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
		if !s.giveUp(w, p, ctx.Err()) {
			return nil, s.abandon(w, p, ctx.Err())
		}
		s.client.unread(w.seen)
		if w.err == nil {
			return nil, tooLate(ctx.Err())
		}
		return nil, w.take(ctx, nil)
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
		if !r.s.giveUp(w, r.p, why) {
			r.err = r.s.abandon(w, r.p, why)
		} else if r.err = tooLate(why); w.err != nil {
			r.err = w.take(r.p.ctx, nil)
		}
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
