package program

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"
)

// Bounds of what a child says on its stderr.
const (
	stderrLine = 4 << 10 // a longer line is several
	stderrRate = 200     // lines a second that are logged; the others are counted
	tailMost   = 2500    // bytes that an error repeats
)

// stderr takes what a child says on its stderr: to the log, and to its last
// error.
type stderr struct {
	// fixed
	log *slog.Logger

	// owned by the reader
	second  time.Time
	logged  int // in that second
	skipped int // since the last one that was logged

	mu   sync.Mutex
	last []byte
}

// read takes everything until the end.
func (e *stderr) read(from io.Reader) {
	in := bufio.NewReaderSize(from, stderrLine)
	for {
		line, err := in.ReadSlice('\n')
		if text := bytes.TrimRight(line, "\r\n"); len(text) > 0 {
			e.keep(text)
			e.say(time.Now(), text)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			break
		}
	}
	if e.skipped > 0 {
		e.log.Warn("stderr: too many lines", "skipped", e.skipped)
	}
}

func (e *stderr) say(now time.Time, line []byte) {
	if now.Sub(e.second) >= time.Second {
		e.second, e.logged = now, 0
	}
	if e.logged++; e.logged > stderrRate {
		e.skipped++
		return
	}
	if e.skipped > 0 {
		e.log.Warn("stderr: too many lines", "skipped", e.skipped)
		e.skipped = 0
	}
	e.log.Info("stderr", "line", clip(line, stderrLine))
}

func (e *stderr) keep(line []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last = append(append(e.last, line...), '\n')
	if cut := len(e.last) - tailMost; cut > 0 {
		if end := bytes.IndexByte(e.last[cut:], '\n'); end >= 0 && end+1 < tailMost {
			cut += end + 1 // whole lines, where there are several
		}
		e.last = append(e.last[:0], e.last[cut:]...)
	}
}

// tail is the last lines, without the last end.
func (e *stderr) tail() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return clip(bytes.TrimSuffix(e.last, []byte("\n")), tailMost)
}
