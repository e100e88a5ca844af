package supervise

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of what worker processes write.
const (
	lineMost   = 8 << 10   // bytes of a line; the rest of a longer one is left out
	linesMost  = 4096      // lines that wait for a slow reader; further ones are counted and dropped
	tailMost   = 64 << 10  // bytes of its standard error that are kept of a process, for the cause of its death
	dumpMost   = 256 << 10 // bytes of a dump
	flushBound = time.Second
)

// sink passes the lines of all processes on to one of this process's own
// streams. Whoever reads that slowly costs lines, never a worker's time.
type sink struct {
	to    io.Writer
	lines chan []byte
	lost  atomic.Int64
	done  chan struct{}
}

func newSink(to io.Writer) *sink {
	s := &sink{to: to, lines: make(chan []byte, linesMost), done: make(chan struct{})}
	go s.run()
	return s
}

func (s *sink) run() {
	defer close(s.done)
	for line := range s.lines {
		if lost := s.lost.Swap(0); lost > 0 {
			fmt.Fprintf(s.to, "(%d lines of worker processes were dropped)\n", lost)
		}
		_, _ = s.to.Write(line) // this process's own stream: nobody is left to tell
	}
}

func (s *sink) put(prefix string, line []byte) {
	b := make([]byte, 0, len(prefix)+len(line)+4)
	b = append(append(append(b, prefix...), " | "...), line...)
	select {
	case s.lines <- append(b, '\n'):
	default:
		s.lost.Add(1)
	}
}

// close flushes; a reader that does not read is waited for no longer than
// flushBound.
func (s *sink) close() {
	close(s.lines)
	select {
	case <-s.done:
	case <-time.After(flushBound):
	}
}

// stream is what one process writes to one of its streams.
type stream struct {
	prefix string
	sink   *sink
	done   chan struct{} // closed at its end

	mu      sync.Mutex
	kept    []byte    // the last of it, or, while it is caught, the first of that
	caught  bool      // since catch
	written time.Time // when something came last
}

// read passes the stream on, line by line, until it ends.
func (s *stream) read(from io.Reader) {
	defer close(s.done)
	var line []byte
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if !s.keep(b[:n]) {
			line = append(line[:0], "(the rest of the dump is left out)"...)
		} else {
			line = s.pass(append(line, b[:n]...))
		}
		if err != nil {
			if len(line) > 0 {
				s.sink.put(s.prefix, line)
			}
			return
		}
	}
}

// pass puts the whole lines of b into the sink and returns what is left.
func (s *stream) pass(b []byte) []byte {
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return b[:min(len(b), lineMost)]
		}
		s.sink.put(s.prefix, b[:min(i, lineMost)])
		b = b[i+1:]
	}
}

// keep remembers what was read; it is false for what is more than a dump may be.
func (s *stream) keep(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.written = time.Now()
	if s.caught {
		room := dumpMost - len(s.kept)
		s.kept = append(s.kept, b[:min(len(b), room)]...)
		return room > 0
	}
	s.kept = append(s.kept, b...)
	if cut := len(s.kept) - tailMost; cut > 0 {
		s.kept = append(s.kept[:0], s.kept[cut:]...)
	}
	return true
}

// quote adds lines that the supervisor found out about the process.
func (s *stream) quote(text string) {
	for line := range strings.Lines(text) {
		s.sink.put(s.prefix, []byte(strings.TrimSuffix(line, "\n")))
	}
}

// catch keeps what comes from now on, from its beginning.
func (s *stream) catch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept, s.caught, s.written = nil, true, time.Time{}
}

// text is what was kept, and when something came last.
func (s *stream) text() (string, time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.kept), s.written
}
