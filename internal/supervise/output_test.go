package supervise

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// Lines of any length and number cost bounded memory, and keep their order.
func TestLinesAreBounded(t *testing.T) {
	var out bytes.Buffer
	sink := newSink(&out)
	s := &stream{prefix: "n.1", sink: sink, done: make(chan struct{})}
	long := strings.Repeat("x", 100<<10)
	s.read(strings.NewReader("one\n" + long + "\nlast without an end"))
	sink.close()
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 3 || lines[0] != "n.1 | one" || len(lines[1]) > lineMost+len("n.1 | ") || lines[2] != "n.1 | last without an end" {
		t.Errorf("%d lines, of %d bytes, the last %q", len(lines), out.Len(), lines[len(lines)-1])
	}
	if kept, _ := s.text(); len(kept) != tailMost || !strings.HasSuffix(kept, "an end") {
		t.Errorf("%d bytes are kept", len(kept))
	}
}

// blocked is a stream that nobody reads.
type blocked struct{ until chan struct{} }

func (b blocked) Write([]byte) (int, error) { <-b.until; return 0, errors.New("closed") }

// Nobody waits for whoever does not read: lines are dropped.
func TestNobodyReads(t *testing.T) {
	b := blocked{make(chan struct{})}
	sink := newSink(b)
	s := &stream{prefix: "n.1", sink: sink, done: make(chan struct{})}
	s.read(strings.NewReader(strings.Repeat("line\n", 2*linesMost)))
	if lost := sink.lost.Load(); lost == 0 {
		t.Error("no line was dropped")
	}
	close(b.until)
	sink.close()
}

// Of a dump the beginning is kept, and no more than that is passed on.
func TestDumpIsBounded(t *testing.T) {
	var out bytes.Buffer
	sink := newSink(&out)
	s := &stream{prefix: "n.1", sink: sink, done: make(chan struct{})}
	s.keep([]byte("before"))
	s.catch()
	r, w := io.Pipe()
	go func() {
		for range 1 << 10 {
			_, _ = w.Write([]byte("goroutine 1 [running]:\n" + strings.Repeat("x", 1000) + "\n"))
		}
		_ = w.Close()
	}()
	s.read(r)
	sink.close()
	if kept, _ := s.text(); len(kept) != dumpMost || !strings.HasPrefix(kept, "goroutine 1") {
		t.Errorf("%d bytes are kept, beginning with %.20q", len(kept), kept)
	}
	if out.Len() > 2*dumpMost || !strings.Contains(out.String(), "left out") {
		t.Errorf("%d bytes were passed on", out.Len())
	}
}
