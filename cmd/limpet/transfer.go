package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// transfer is where the bytes of a call come from and go to, and the bar that
// shows it.
type transfer struct {
	in      io.Reader // nil: the argument is no file
	size    int64     // of it, below 0: not known
	out     io.Writer // nil: the reply is no file
	part    *os.File  // what out is until the call is done; nil: standard output
	target  string
	closeIn func() error

	bars *bars
}

// openTransfer opens what --in and --out name.
func openTransfer(in, out string, stdin io.Reader, stdout, errs io.Writer) (*transfer, error) {
	t := &transfer{size: -1, closeIn: func() error { return nil }, bars: newBars(errs)}
	switch in {
	case "":
	case "-":
		t.in = stdin
	default:
		f, err := os.Open(in)
		if err != nil {
			return nil, usageError{fmt.Errorf("--in: %w", err)}
		}
		t.in, t.closeIn = f, f.Close
		switch info, err := f.Stat(); {
		case err != nil: // whatever it is, it was opened
		case info.IsDir():
			_ = f.Close() // nothing was read
			return nil, usageError{fmt.Errorf("--in: %s is a directory", in)}
		case info.Mode().IsRegular():
			t.size = info.Size()
		}
	}
	switch out {
	case "":
	case "-":
		t.out = stdout
	default:
		f, err := os.Create(out + ".part")
		if err != nil {
			_ = t.closeIn() // it was only read
			return nil, usageError{fmt.Errorf("--out: %w", err)}
		}
		t.out, t.part, t.target = f, f, out
	}
	return t, nil
}

// argument is the reader of --in. Where nothing is to be seen it is the file
// itself, whose size the call can tell.
func (t *transfer) argument() io.Reader {
	if !t.bars.shown {
		return t.in
	}
	return &counted{r: t.in, to: t.bars.of("sent", t.size)}
}

// reply is the writer of --out.
func (t *transfer) reply() io.Writer {
	if !t.bars.shown {
		return t.out
	}
	return io.MultiWriter(t.out, t.bars.of("received", -1))
}

// end closes what was opened. The reply of a call that is done takes its place
// now; any other is left as FILE.part.
func (t *transfer) end(err error) error {
	t.bars.end()
	_ = t.closeIn() // it was only read
	if t.part == nil {
		return err
	}
	if bad := t.part.Close(); err == nil {
		err = bad
	}
	if err != nil {
		return err
	}
	return os.Rename(t.part.Name(), t.target)
}

// bars are the lines that show how far a transfer is: one at a time, the latest
// that began.
type bars struct {
	shown bool
	to    io.Writer

	mu  sync.Mutex
	now *progressbar.ProgressBar
}

func newBars(errs io.Writer) *bars {
	f, ok := errs.(*os.File)
	return &bars{shown: ok && term.IsTerminal(int(f.Fd())), to: errs}
}

// of returns where to write what is counted. Its bar comes with its first byte.
func (b *bars) of(what string, size int64) io.Writer { return &bar{of: b, what: what, size: size} }

func (b *bars) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.now != nil {
		_ = b.now.Exit() // a bar that cannot be shown is no error
	}
}

// bar is one direction.
type bar struct {
	of   *bars
	what string
	size int64
	line *progressbar.ProgressBar // guarded by of.mu
}

// Write counts p.
func (b *bar) Write(p []byte) (int, error) {
	b.of.mu.Lock()
	defer b.of.mu.Unlock()
	if b.line == nil {
		if b.of.now != nil {
			_ = b.of.now.Exit() // as above
		}
		b.line = progressbar.NewOptions64(b.size,
			progressbar.OptionSetWriter(b.of.to), progressbar.OptionSetDescription(b.what), progressbar.OptionShowBytes(true),
			progressbar.OptionShowTotalBytes(true), progressbar.OptionSetWidth(20), progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionSpinnerType(14), progressbar.OptionFullWidth())
		b.of.now = b.line
		_ = b.line.RenderBlank() // as above; a transfer that takes no time is shown too
	}
	if b.of.now == b.line {
		_ = b.line.Add(len(p)) // as above
	}
	return len(p), nil
}

// counted is a reader whose bytes are counted.
type counted struct {
	r  io.Reader
	to io.Writer
}

// Read implements io.Reader.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	_, _ = c.to.Write(p[:n]) // it counts
	return n, err
}
