package tests

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// streamCall is a call whose argument comes as chunks.
func streamCall(h wire.Header, method string, size int64) []byte {
	h.Number, h.Flags = 1, wire.FlagStream|wire.FlagRaw
	return wire.AppendCall(nil, &h, method, wire.AppendStream(nil, wire.Stream{Size: size}))
}

// argChunk is a chunk of call 1's argument.
func argChunk(h wire.Header, at uint64, size int, last bool) []byte {
	h.Kind, h.Number, h.Ack = wire.KindArgChunk, 1, at
	if last {
		h.Flags = wire.FlagStream
	}
	return sessionMessage(h, make([]byte, size)...)
}

// replyCredit is a credit for call 1's reply.
func replyCredit(h wire.Header, taken, window uint64) []byte {
	h.Kind, h.Number, h.Ack = wire.KindReplyCredit, 1, taken
	h.SetWindow(window)
	return sessionMessage(h)
}

// What a holder sends of a stream that cannot be ends its call, says what was
// wrong, and is nobody else's trouble.
func TestBadStreams(t *testing.T) {
	const all = session.DefaultCredit
	read := func(h wire.Header) []byte {
		h.Number = 1
		return wire.AppendCall(nil, &h, "read", []byte{0xce, 0x10, 0, 0, 0}) // 256 MiB
	}
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, streams("a", 2), counters("beside", 1))
	bystander(t, c.dial(t), "beside")
	for name, test := range map[string]struct {
		size  int64 // of the argument; 0: the call reads
		sends func(h wire.Header) [][]byte
		text  string
	}{
		"too large a chunk": {-1, func(h wire.Header) [][]byte { return [][]byte{argChunk(h, 0, session.MaxChunk+1, false)} }, "at most 524288"},
		"beyond the credit": {-1, func(h wire.Header) [][]byte { return [][]byte{argChunk(h, all, 1, false)} }, "beyond what was granted"},
		"overflowing":       {-1, func(h wire.Header) [][]byte { return [][]byte{argChunk(h, 1<<64-2, 8, false)} }, "beyond what was granted"},
		"longer than announced": {4, func(h wire.Header) [][]byte {
			return [][]byte{argChunk(h, 0, 4, false), argChunk(h, 4, 1, true)}
		}, "announced"},
		"shorter than announced": {4, func(h wire.Header) [][]byte { return [][]byte{argChunk(h, 0, 3, true)} }, "announced"},
		"after the end": {-1, func(h wire.Header) [][]byte {
			return [][]byte{argChunk(h, 4, 4, true), argChunk(h, 8, 1, false)}
		}, "told as the end"},
		"a second end": {-1, func(h wire.Header) [][]byte {
			return [][]byte{argChunk(h, 4, 4, true), argChunk(h, 0, 4, true)}
		}, "told as the end"},
		"endless credit":             {0, func(h wire.Header) [][]byte { return [][]byte{replyCredit(h, 0, 1<<32-1)} }, "credit of 4294967295 bytes"},
		"credit for what never came": {0, func(h wire.Header) [][]byte { return [][]byte{replyCredit(h, 1<<20, 0)} }, "beyond 1048576"},
		"negative credit":            {0, func(h wire.Header) [][]byte { return [][]byte{replyCredit(h, 1<<64-1, 1<<20)} }, "beyond 18446744073709551615"},
	} {
		t.Run(name, func(t *testing.T) {
			s := connectStranger(t, c.url)
			h := holderOf(s.openRaw("a"))
			if test.size != 0 {
				s.send(frame(streamCall(h, "sum", test.size)))
				s.hearKind(wire.KindArgCredit)
			} else {
				s.send(frame(read(h)))
				s.hearKind(wire.KindReplyChunk)
			}
			for _, env := range test.sends(h) {
				s.send(frame(env))
			}
			f, body := s.hearHeader(wire.KindFail)
			if text := wire.ParseFailure(body).Text; f.Code != session.ErrStream || f.Number != 1 || !strings.Contains(text, test.text) {
				t.Errorf("answered by %s of call %d: %q, want %q in it", f.Code, f.Number, text, test.text)
			}
			h.Number = 2
			s.send(frame(callMessage(h, "bytes", 1))) // its session goes on
			if r, _ := s.hearHeader(wire.KindReply); r.Number != 2 {
				t.Errorf("call %d is answered", r.Number)
			}
			h.Kind, h.Number = wire.KindClose, 3
			s.send(frame(sessionMessage(h)))
			s.hearKind(wire.KindClosed)
		})
	}
}

// Chunks that come twice and in any order are the same argument.
func TestChunksOutOfOrderAndTwice(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, streams("a", 1))
	s := connectStranger(t, c.url)
	h := holderOf(s.openRaw("a"))
	s.send(frame(streamCall(h, "back", -1)))
	s.hearKind(wire.KindArgCredit)
	h.Kind, h.Number = wire.KindArgChunk, 1
	part := func(at uint64, text string, last bool) []byte {
		h := h
		if h.Ack = at; last {
			h.Flags = wire.FlagStream
		}
		return sessionMessage(h, []byte(text)...)
	}
	s.send(frame(part(8, "ij", true), part(4, "efgh", false), part(4, "efgh", false), part(0, "abcd", false), part(0, "abcd", false), part(8, "ij", true)))
	if r, body := s.hearHeader(wire.KindReply); r.Flags&wire.FlagStream == 0 || !bytes.Equal(body, wire.AppendStream(nil, wire.Stream{Size: 10})) {
		t.Errorf("the reply is %+v with %x", r, body)
	}
	s.send(frame(replyCredit(h, 0, 1<<20)))
	var got []byte
	for len(got) < 10 {
		_, body := s.hearHeader(wire.KindReplyChunk)
		got = append(got, body...)
	}
	if string(got) != "abcdefghij" {
		t.Errorf("it comes back as %q", got)
	}
}

// A holder that takes nothing of its reply holds up its own session only, and
// loses the reply in the end: it was done, and is gone.
func TestHolderStopsReading(t *testing.T) {
	c := newCell(t, broker.Options{})
	wrote := make(chan error, 2)
	p := worker.NewPool(worker.Config[struct{}]{Pool: "a", Slots: 1, Stall: 300 * time.Millisecond})
	worker.HandleStream(p, "write", func(_ context.Context, _ struct{}, size int64, w io.Writer) error {
		_, err := io.Copy(w, noise(1, size))
		wrote <- err
		return err
	})
	c.serve(t, worker.Options{}, p, streams("beside", 1))
	beside := open(t, c.dial(t), "beside")
	s := connectStranger(t, c.url)
	h := holderOf(s.openRaw("a"))
	call := h
	call.Number = 1
	s.send(frame(wire.AppendCall(nil, &call, "write", []byte{0xce, 0x40, 0, 0, 0}))) // 1 GiB
	s.hearKind(wire.KindReplyChunk)
	s.send(frame(replyCredit(h, 0, 1<<20)))
	f, body := s.hearHeader(wire.KindFail)
	const why = "took 0 bytes of the reply, then none for 300ms"
	if text := wire.ParseFailure(body).Text; f.Code != session.ErrReplyGone || f.Outcome() != session.Done || !strings.Contains(text, why) {
		t.Errorf("answered by %s, %s: %q", f.Code, f.Outcome(), text)
	}
	if err := <-wrote; !errors.Is(err, session.ErrReplyGone) {
		t.Errorf("its handler's write ends with %v", err)
	}
	var to bytes.Buffer
	if err := beside.Call(t.Context(), "write", large, &to); err != nil {
		t.Error(err)
	}
	wantNoise(t, "a transfer beside", &to, large)
}

// A reply that is not read any more is cancelled: its handler ends, the session
// goes on, and neither side keeps any of it.
func TestStreamIsClosedInTheMiddle(t *testing.T) {
	c := newCell(t, broker.Options{})
	ended := make(chan error, 1)
	p := worker.NewPool(worker.Config[struct{}]{Pool: "a", Slots: 1})
	worker.HandleStream(p, "endless", func(ctx context.Context, _ struct{}, _ any, w io.Writer) error {
		_, err := io.Copy(w, noise(1, 1<<62))
		<-ctx.Done()
		ended <- err
		return err
	})
	worker.Handle(p, "one", func(context.Context, struct{}, any) (int, error) { return 1, nil })
	worker.Handle(p, "drain", func(_ context.Context, _ struct{}, r io.Reader) (int64, error) {
		_, err := io.CopyN(io.Discard, r, 1<<20)
		return 0, err
	})
	c.serve(t, worker.Options{}, p)
	s := open(t, c.dial(t), "a")
	r, err := s.Stream(t.Context(), "endless", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, r, 6<<20); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, session.ErrCancelled) {
		t.Errorf("a read after Close: %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("its handler's context has ended, and it has written everything")
	}
	if n, err := client.Call[int](t.Context(), s, "one", any(nil)); n != 1 || err != nil {
		t.Errorf("the session goes on with %d, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if r, err = s.Stream(ctx, "endless", nil); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, context.Canceled) {
		t.Errorf("a read after the context's end: %v", err)
	}
	if err := <-ended; err == nil {
		t.Error("its handler's context has ended, and it has written everything")
	}
	if _, err := client.Call[int64](t.Context(), s, "drain", noise(1, 1<<62)); err != nil {
		t.Errorf("an argument that is not read to its end: %v", err)
	}
}

// errReader fails in the middle.
type errReader struct{}

var errDisk = errors.New("the disk is gone")

func (errReader) Read([]byte) (int, error) { return 0, errDisk }

// What is too large to be collected, and a reader that fails, are told as such.
func TestStreamLimits(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, streamsWith(worker.Config[struct{}]{Pool: "a", Slots: 2, MaxArgument: 1 << 20}))
	s := open(t, c.dial(t, client.WithMaxReply(1<<20)), "a")
	for what, arg := range map[string]io.Reader{"announced": bytes.NewReader(make([]byte, 1<<20+1)), "not announced": noise(1, 1<<20+1)} {
		if err := s.Call(t.Context(), "sum bytes", arg, nil); !errors.Is(err, session.ErrTooLarge) || !errors.Is(err, session.NotRun) {
			t.Errorf("an argument that is too large, %s: %v", what, err)
		}
	}
	var b []byte
	if err := s.Call(t.Context(), "read", 1<<20+1, &b); !errors.Is(err, session.ErrTooLarge) {
		t.Errorf("a reply that is too large: %v", err)
	}
	if err := s.Call(t.Context(), "sum bytes", io.MultiReader(noise(1, 1000), errReader{}), nil); !errors.Is(err, errDisk) || !errors.Is(err, session.NotRun) {
		t.Errorf("an argument whose reader fails: %v", err)
	}
	if _, err := client.Do[[]byte](t.Context(), c.dial(t), "a", "read", 9<<20); !errors.Is(err, session.ErrTooLarge) {
		t.Errorf("a large reply to Do: %v", err)
	}
	if b, err := client.Do[[]byte](t.Context(), c.dial(t), "a", "write", 7<<20); err != nil || len(b) != 7<<20 {
		t.Errorf("a reply to Do that fits: %d bytes, %v", len(b), err)
	}
	if got, err := client.Call[tide](t.Context(), s, "sum bytes", make([]byte, 1<<20)); err != nil || got.Size != 1<<20 {
		t.Errorf("what fits: %+v, %v", got, err)
	}
}
