package chunk

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/limpet-rpc/limpet/session"
)

var errStopped = errors.New("stopped")

// lent is the memory of one chunk, and the source that it comes from.
type lent struct {
	body    []byte
	taken   bool
	dropped int
}

func (*lent) Hold()   {}
func (l *lent) Drop() { l.dropped++ }

func (l *lent) Take(Bell) (session.Chunk, Look, error) {
	if l.taken {
		return session.Chunk{}, Waits, nil
	}
	l.taken = true
	return session.Chunk{Body: l.body, Mem: l}, Moves, nil
}

func (*lent) End(uint32) error { return io.EOF }

// stopper stops what writes to it, or reads from it, in the middle.
type stopper struct{ stop func() }

func (s stopper) Write(p []byte) (int, error) {
	s.stop()
	return len(p) / 2, io.ErrShortWrite
}

func (s stopper) Read(p []byte) (int, error) {
	s.stop()
	return copy(p, "more"), nil
}

// A reader that is stopped while somebody writes what it has gives that back when it
// has been written, once.
func TestReaderIsStoppedInAWrite(t *testing.T) {
	l := &lent{body: make([]byte, 100)}
	r := NewReader(t.Context(), l, false)
	n, err := r.WriteTo(stopper{func() {
		if r.Stop(errStopped); l.dropped != 0 {
			t.Error("its memory is given back while it is written")
		}
	}})
	if n != 50 || !errors.Is(err, io.ErrShortWrite) || l.dropped != 1 {
		t.Errorf("%d bytes, %v, given back %d times", n, err, l.dropped)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, errStopped) {
		t.Errorf("a read afterwards: %v", err)
	}
	if r.Stop(io.EOF); l.dropped != 1 {
		t.Errorf("given back %d times", l.dropped)
	}
}

// One that waits is woken, by Stop alone.
func TestReaderIsStoppedWhileItWaits(t *testing.T) {
	l := &lent{body: []byte("all")}
	r := NewReader(t.Context(), l, false)
	read := make(chan error, 1)
	go func() {
		_, err := r.WriteTo(io.Discard)
		read <- err
	}()
	r.Stop(errStopped)
	if err := <-read; !errors.Is(err, errStopped) {
		t.Errorf("it ended with %v", err)
	}
}

// full is a sink that takes nothing.
type full struct{}

func (full) Give(*Block, Bell) (Look, error) { return Waits, nil }

// A writer that is stopped while it reads into its block keeps that until then, and
// takes no more.
func TestWriterIsStoppedInARead(t *testing.T) {
	w := NewWriter(t.Context(), full{}, false)
	var block *Block
	_, err := w.ReadFrom(stopper{func() {
		block = w.now
		if w.Stop(errStopped); w.now != block {
			t.Error("its memory is given back while it is read into")
		}
	}})
	if !errors.Is(err, errStopped) || w.now != nil {
		t.Errorf("it ended with %v, and keeps %v", err, w.now)
	}
}

// A writer that somebody reads into sends nothing of that: not for a Flush, nor for a Write.
func TestWriterIsUsedInARead(t *testing.T) {
	for name, use := range map[string]func(w *Writer) error{
		"Flush":    (*Writer).Flush,
		"Write":    func(w *Writer) error { _, err := w.Write([]byte("tail")); return err },
		"ReadFrom": func(w *Writer) error { _, err := w.ReadFrom(bytes.NewReader([]byte("tail"))); return err },
	} {
		w := NewWriter(t.Context(), full{}, false)
		if _, err := w.Write([]byte("head")); err != nil {
			t.Fatal(err)
		}
		_, err := w.ReadFrom(stopper{func() {
			block := w.now
			if err := use(w); !errors.Is(err, errLent) || w.now != block || string(block.Body()) != "head" {
				t.Errorf("%s: %v", name, err)
			}
		}})
		if !errors.Is(err, errLent) || w.now != nil {
			t.Errorf("%s: it ended with %v, and keeps %v", name, err, w.now)
		}
	}
}

// One that waits for room is woken.
func TestWriterIsStoppedWhileItWaits(t *testing.T) {
	w := NewWriter(t.Context(), full{}, false)
	wrote := make(chan error, 1)
	go func() {
		_, err := w.Write(bytes.Repeat([]byte{1}, 2*session.MaxChunk))
		wrote <- err
	}()
	w.Stop(errStopped)
	if err := <-wrote; !errors.Is(err, errStopped) {
		t.Errorf("it ended with %v", err)
	}
}
