package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// prompt reads lines from the terminal, with editing and a history. It writes
// to stderr: stdout is for replies. The terminal is raw only while a line is
// read, so that Ctrl-C is a signal while a call runs.
type prompt struct {
	terminal *term.Terminal

	mu     sync.Mutex
	cooked *term.State // what to restore, nil while the terminal is as it was
}

func newPrompt(text string) *prompt {
	return &prompt{terminal: term.NewTerminal(struct {
		io.Reader
		io.Writer
	}{os.Stdin, os.Stderr}, text)}
}

// readLine blocks for one line. It is io.EOF after Ctrl-D or Ctrl-C.
func (p *prompt) readLine() (string, error) {
	if err := p.makeRaw(); err != nil {
		return "", err
	}
	line, err := p.terminal.ReadLine()
	p.restore()
	if errors.Is(err, term.ErrPasteIndicator) {
		err = nil
	}
	if errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr) // leaves the shell a line of its own
	}
	return line, err
}

func (p *prompt) makeRaw() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := int(os.Stdin.Fd())
	if width, height, err := term.GetSize(in); err == nil && width > 0 {
		_ = p.terminal.SetSize(width, height) // it may have been changed since
	}
	var err error
	p.cooked, err = term.MakeRaw(in)
	return err
}

// restore gives the terminal back as it was. It may be called while a line is
// being read.
func (p *prompt) restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cooked != nil {
		_ = term.Restore(int(os.Stdin.Fd()), p.cooked) // it is gone, or as it was
		p.cooked = nil
	}
}
