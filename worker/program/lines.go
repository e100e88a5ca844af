package program

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// lines reads lines of at most so many bytes, and holds no more than that.
type lines struct {
	in   *bufio.Reader
	most int
	held []byte // the beginning of a line that did not fit the reader
}

// heldMost is how large a buffer is kept for the next line.
const heldMost = 64 << 10

var errLong = errors.New("line too long")

func newLines(in io.Reader, most int) *lines {
	return &lines{in: bufio.NewReaderSize(in, 8<<10), most: most}
}

// next returns a line without its end, which holds until the next call.
// errLong is one that is too long; io.ErrUnexpectedEOF is the end within one.
func (l *lines) next() ([]byte, error) {
	if cap(l.held) > heldMost {
		l.held = nil
	}
	l.held = l.held[:0]
	for {
		part, err := l.in.ReadSlice('\n')
		switch {
		case len(l.held)+len(part) > l.most+1:
			return nil, fmt.Errorf("%w: more than %d bytes", errLong, l.most)
		case err == nil && len(l.held) == 0:
			return part[:len(part)-1], nil
		}
		l.held = append(l.held, part...)
		switch {
		case err == nil:
			return l.held[:len(l.held)-1], nil
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case len(bytes.TrimSpace(l.held)) > 0 && errors.Is(err, io.EOF):
			return l.held, io.ErrUnexpectedEOF
		default:
			return l.held, err
		}
	}
}
