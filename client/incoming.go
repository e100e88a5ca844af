package client

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/chunk"
	"github.com/limpet-rpc/limpet/session"
)

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
		return s.cut(ctx, w, tag, ctx.Err())
	case err != nil && !w.over:
		err = s.refuse(w, tag, &session.Error{Code: session.ErrCancelled, Text: "the reply could not be written: " + err.Error(), Cause: err})
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
