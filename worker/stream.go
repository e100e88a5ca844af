package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"

	"github.com/limpet-rpc/limpet/internal/chunk"
	"github.com/limpet-rpc/limpet/internal/codec"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/core"
)

// Flusher is what the writer of HandleStream is too.
type Flusher interface {
	// Flush sends what was written and has not left yet. It blocks as Write does.
	Flush() error
}

// replyMost is the largest reply that one message carries.
const replyMost = wire.MaxEnvelope - wire.HeaderSize

// flowError is what went wrong with this call's own streams, and with no other's
// that its handler may have made.
type flowError struct{ why *session.Error }

// Error is what went wrong.
func (e flowError) Error() string { return e.why.Error() }

// Unwrap is what a handler may ask it for.
func (e flowError) Unwrap() error { return e.why }

func isReader[T any]() bool { return reflect.TypeFor[T]() == reflect.TypeFor[io.Reader]() }

// callOf is the call whose context ctx is.
func callOf(ctx context.Context) *callContext {
	c, _ := ctx.Value(callKey{}).(*callContext)
	return c
}

// incoming is where the argument of a call comes from.
type incoming struct {
	task   *task
	number uint64
	sum    uint32
	summed bool
}

// Take implements chunk.Source.
func (in *incoming) Take(bell chunk.Bell) (part session.Chunk, look chunk.Look, err error) {
	t := in.task
	t.node.lockedFor(t, func(fx *core.Effects) {
		var what core.Flow
		var broken *session.Error
		part, what, broken = t.node.core.Take(time.Now(), t.session, in.number, bell, fx)
		look = lookOf(what)
		if broken != nil {
			err = flowError{broken}
		}
		if what == core.FlowEnded {
			in.sum, in.summed = t.node.core.ArgumentSum(t.session, in.number)
		}
	})
	return part, look, err
}

// End implements chunk.Source.
func (in *incoming) End(sum uint32) error {
	if in.summed && in.sum != sum {
		return flowError{&session.Error{Code: session.ErrStream, Text: fmt.Sprintf("the argument's checksum is %08x, its caller says %08x", sum, in.sum)}}
	}
	return io.EOF
}

func lookOf(f core.Flow) chunk.Look {
	switch f {
	case core.FlowMoves:
		return chunk.Moves
	case core.FlowWaits:
		return chunk.Waits
	default:
		return chunk.Ended
	}
}

// outgoing is where the reply of a call goes.
type outgoing struct {
	task   *task
	number uint64
}

// Give implements chunk.Sink.
func (out *outgoing) Give(b *chunk.Block, bell chunk.Bell) (look chunk.Look, err error) {
	t := out.task
	t.node.lockedFor(t, func(fx *core.Effects) {
		what, broken := t.node.core.Give(time.Now(), t.session, out.number, b.Body(), b, bell, fx)
		if look = lookOf(what); broken != nil {
			err = flowError{broken}
		}
	})
	return look, err
}

// reply is what a handler writes: chunks, or one whole body.
type reply interface {
	io.Writer
	Flusher
}

// wholeReply gathers a reply that cannot leave in parts: its caller has no
// session to give credit in.
type wholeReply struct{ bytes.Buffer }

// Write implements io.Writer.
func (w *wholeReply) Write(p []byte) (int, error) {
	if w.Len()+len(p) > replyMost {
		return 0, flowError{&session.Error{
			Code: session.ErrTooLarge, Text: fmt.Sprintf("a reply of more than %d bytes needs a session that does not end with its first call", replyMost),
		}}
	}
	return w.Buffer.Write(p)
}

// Flush implements Flusher.
func (w *wholeReply) Flush() error { return nil }

// ReadFrom hides the buffer's own, which knows no bound.
func (w *wholeReply) ReadFrom(r io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{w}, r)
}

// argument has the argument of a call ready for its handler: whole, or as what
// it reads. A call whose argument does not come ends as not run.
func (t *task) argument(ctx *callContext, call *core.Call) (args []byte, raw bool, refused *session.Reply) {
	d := call.Stream
	arg := chunk.NewReader(ctx, &incoming{task: t, number: call.Number}, d.Sum)
	ctx.flows = &flows{sums: d.Sum, arg: arg}
	reads, most := t.pool.argument(call.Method())
	if reads {
		return nil, call.Raw, nil
	}
	args, err := collect(arg, d.Size, most)
	arg.Stop(err)
	ctx.flows.arg = nil
	if err == nil {
		return args, call.Raw, nil
	}
	r := failed(ctx, err)
	r.Outcome = session.NotRun
	return nil, false, &r
}

// collect reads an argument of at most so many bytes; size is what was announced,
// below 0: unknown.
func collect(r io.Reader, size int64, most int) ([]byte, error) {
	tooLarge := flowError{&session.Error{Code: session.ErrTooLarge, Text: fmt.Sprintf("argument of %d bytes, at most %d", size, most)}}
	if size > int64(most) {
		return nil, tooLarge
	}
	var b bytes.Buffer
	if size > 0 {
		b.Grow(int(min(size, session.DefaultCredit)) + bytes.MinRead)
	}
	n, err := b.ReadFrom(io.LimitReader(r, int64(most)+1))
	if err == nil && n > int64(most) {
		tooLarge.why.Text = fmt.Sprintf("argument of more than %d bytes", most)
		return nil, tooLarge
	}
	return b.Bytes(), err
}

// reader is the argument of a handler that reads it.
func (c *callContext) reader(args []byte, raw bool) (io.Reader, error) {
	switch f := c.flows; {
	case f == nil || f.arg == nil:
	case raw:
		return f.arg, nil
	default:
		return nil, errors.New("a MessagePack value, want bytes")
	}
	var b []byte
	if err := codec.Decode(args, raw, &b); err != nil {
		return nil, err
	}
	return bytes.NewReader(b), nil
}

// writer is where a handler writes its reply.
func (c *callContext) writer() reply {
	f := c.parts()
	switch {
	case f.out != nil:
	case c.errand() != nil || c.session.task.session.Once():
		f.out = &wholeReply{}
	default:
		f.out = chunk.NewWriter(c, &outgoing{task: c.session.task, number: c.number}, f.sums)
	}
	return f.out
}

// copyReply writes a result that is read.
func copyReply(ctx context.Context, r io.Reader) error {
	if r == nil {
		return errors.New("the handler returned no reader")
	}
	if closer, ok := r.(io.Closer); ok {
		defer closer.Close()
	}
	_, err := io.Copy(callOf(ctx).writer(), r)
	return err
}

// conclude makes the reply of what a handler has returned or written: in its place,
// a copy would wait for what the handler wrote to reach the cache.
func (t *task) conclude(ctx *callContext, body []byte, raw bool, reply *session.Reply) error {
	f := ctx.flows
	if f == nil && len(body) <= replyMost {
		reply.Raw, reply.Body = raw, body
		return nil
	}
	f = ctx.parts()
	if f.out == nil && (len(body) > replyMost || f.sums) {
		if _, err := ctx.writer().Write(body); err != nil {
			return err
		}
	}
	switch out := f.out.(type) {
	case nil:
	case *wholeReply:
		body = out.Bytes()
	case *chunk.Writer:
		if err := out.Flush(); err != nil {
			return err
		}
		reply.Raw, reply.Stream, reply.Sum, reply.Body = raw, true, out.Sum(), nil
		return nil
	}
	reply.Raw, reply.Body = raw, body
	return nil
}

// errHandlerLeft is what reads and writes get after their handler has returned.
var errHandlerLeft = errors.New("the handler has returned")

// endFlows gives back what the call's reader and writer hold.
func (c *callContext) endFlows() {
	f := c.flows
	if f == nil {
		return
	}
	if f.arg != nil {
		f.arg.Stop(errHandlerLeft)
	}
	if w, ok := f.out.(*chunk.Writer); ok {
		w.Stop(errHandlerLeft)
	}
}
