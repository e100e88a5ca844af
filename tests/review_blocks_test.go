package tests

import (
	"context"
	"errors"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmqio"
	"github.com/limpet-rpc/limpet/worker"
)

type nothing struct{}

func (nothing) Envelope(wire.Peer, []byte) {}
func (nothing) Malformed(wire.Peer, error) {}
func (nothing) Gone(wire.Peer)             {}
func (nothing) Tick(time.Time)             {}

func blocksNow(t *testing.T) (int, int) {
	l, err := zmqio.NewLoop(nothing{}, zmqio.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	st := l.Stats()
	_ = l.Run(ctx)
	return st.Blocks, st.BlockBytes
}

type fullDisk struct{ n int }

func (f *fullDisk) Write(p []byte) (int, error) {
	time.Sleep(100 * time.Millisecond) // meanwhile the rest comes
	return 0, errors.New("disk full")
}

// What is left unread of a reply gives its memory back.
func TestReviewUnreadReply(t *testing.T) {
	c := newCell(t, broker.Options{})
	p := worker.NewPool(worker.Config[struct{}]{Pool: "p", Slots: 4})
	worker.Handle(p, "bytes", func(_ context.Context, _ struct{}, n int) ([]byte, error) { return make([]byte, n), nil })
	worker.HandleStream(p, "stream", func(_ context.Context, _ struct{}, _ io.Reader, w io.Writer) error {
		_, err := w.Write(make([]byte, 900<<10))
		return err
	})
	c.serve(t, worker.Options{}, p)
	cl := c.dial(t)
	s := open(t, cl, "p")
	check := func(what string, f func()) {
		t.Helper()
		before, _ := blocksNow(t)
		for range 20 {
			f()
		}
		runtime.GC()
		time.Sleep(500 * time.Millisecond)
		after, bytes := blocksNow(t)
		t.Logf("%s: blocks %d, then %d, %d MiB", what, before, after, bytes>>20)
		if after > before+5 {
			t.Errorf("%s: 20 calls leave %d blocks behind", what, after-before)
		}
	}
	check("read to the end", func() {
		r, err := s.Stream(t.Context(), "stream", []byte{})
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, r)
		r.Close()
	})
	check("a Stream that is closed early", func() {
		r, err := s.Stream(t.Context(), "stream", []byte{})
		if err != nil {
			t.Fatal(err)
		}
		io.ReadFull(r, make([]byte, 10))
		time.Sleep(20 * time.Millisecond)
		r.Close()
	})
	check("a writer that fails", func() {
		if err := s.Call(t.Context(), "stream", []byte{}, &fullDisk{}); err == nil {
			t.Fatal("no error")
		}
	})
	check("Go without Wait, its session closed", func() {
		s := open(t, cl, "p")
		_ = s.Go(t.Context(), "stream", []byte{})
		time.Sleep(100 * time.Millisecond)
		closeSession(t, s)
	})
	check("a Stream that is closed early, all of it come", func() {
		s := open(t, cl, "p")
		r, err := s.Stream(t.Context(), "stream", []byte{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
		r.Close()
		closeSession(t, s)
	})
}
