package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"
)

// Patience with role processes. None of them is part of a measurement.
const (
	readyWait = 60 * time.Second
	endWait   = 3 * time.Second
	tailBytes = 4096
)

// Child is a role process as its starter sees it. Its methods are for one
// goroutine at a time, Kill excepted.
type Child struct {
	Role     string
	Endpoint string
	Pid      int

	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // closed at the end of its stdout
	tail  *tail
}

// Start runs role in a process of its own and waits until it is ready. The end
// of ctx kills it.
func Start(ctx context.Context, role string, setup Setup, verbose bool) (*Child, error) {
	arg, err := json.Marshal(setup)
	if err != nil {
		return nil, fmt.Errorf("encode setup of %s: %w", role, err)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own executable: %w", err)
	}
	c := &Child{Role: role, cmd: exec.CommandContext(ctx, self, roleWord, role, string(arg)), lines: make(chan string, 16), tail: &tail{}}
	c.cmd.Stderr = c.tail
	if verbose {
		c.cmd.Stderr = io.MultiWriter(c.tail, os.Stderr)
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	c.Pid = c.cmd.Process.Pid
	go c.read(out)
	if c.Endpoint, err = c.expect(ctx, "ready", readyWait); err != nil {
		c.Stop() // then all that it wrote is here
		return nil, c.failed(err)
	}
	return c, nil
}

// read passes the child's lines on; it ends with the child's stdout.
func (c *Child) read(out io.Reader) {
	defer close(c.lines)
	lines := bufio.NewReaderSize(out, 1<<20)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		c.lines <- strings.TrimSpace(line)
	}
}

// expect returns what follows word on the child's next line.
func (c *Child) expect(ctx context.Context, word string, wait time.Duration) (string, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case line, ok := <-c.lines:
		if !ok {
			return "", fmt.Errorf("ended before %q", word)
		}
		got, rest, _ := strings.Cut(line, " ")
		if got == word {
			return rest, nil
		}
		return "", errors.New(line)
	case <-timer.C:
		return "", fmt.Errorf("no %q within %v", word, wait)
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

func (c *Child) failed(err error) error {
	if said := c.tail.String(); said != "" {
		return fmt.Errorf("%s (pid %d): %w; it wrote: %s", c.Role, c.Pid, err, said)
	}
	return fmt.Errorf("%s (pid %d): %w", c.Role, c.Pid, err)
}

// Ask sends word with arg and decodes the child's answer into reply, which may
// be nil. It blocks for at most wait.
func (c *Child) Ask(ctx context.Context, word string, arg, reply any, wait time.Duration) error {
	b, err := json.Marshal(arg)
	if err != nil {
		return fmt.Errorf("ask %s for %s: %w", c.Role, word, err)
	}
	if _, err := fmt.Fprintf(c.in, "%s %s\n", word, b); err != nil {
		return c.failed(fmt.Errorf("ask for %s: %w", word, err))
	}
	text, err := c.expect(ctx, word, wait)
	if err != nil {
		return c.failed(err)
	}
	if reply == nil {
		return nil
	}
	if err := json.Unmarshal([]byte(text), reply); err != nil {
		return c.failed(fmt.Errorf("decode %s: %w", word, err))
	}
	return nil
}

// Kill ends the child at once with SIGKILL; Stop is still due.
func (c *Child) Kill() error { return c.cmd.Process.Kill() }

// Stop ends the child by closing its stdin, by its pid when that is not enough,
// and waits for it.
func (c *Child) Stop() {
	c.in.Close()                                             // a second time is harmless
	kill := time.AfterFunc(endWait, func() { _ = c.Kill() }) // fails only where the child has ended
	for range c.lines {                                      // until its stdout has ended, as Wait asks for
	}
	_ = c.cmd.Wait() // how it ended is of no interest: what failed was reported by Ask
	kill.Stop()
}

// Family is a set of children, stopped together, clients before servers.
type Family struct {
	Members []*Child
	verbose bool
}

// Add starts one more child, which is told the endpoints of those before it.
func (f *Family) Add(ctx context.Context, role string, setup Setup) (*Child, error) {
	setup.At = nil
	for _, c := range f.Members {
		setup.At = append(setup.At, c.Endpoint)
	}
	c, err := Start(ctx, role, setup, f.verbose)
	if err != nil {
		return nil, err
	}
	f.Members = append(f.Members, c)
	return c, nil
}

// AddServers starts a peer's servers in their order.
func (f *Family) AddServers(ctx context.Context, p Peer, setup Setup) error {
	for _, s := range p.Servers() {
		if _, err := f.Add(ctx, p.Name()+"/"+s.Name, setup); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends all children. All are told before the first is waited for, the last
// started first.
func (f *Family) Stop() {
	for _, c := range slices.Backward(f.Members) {
		c.in.Close()
	}
	for _, c := range slices.Backward(f.Members) {
		c.Stop()
	}
	f.Members = nil
}

// tail keeps the end of what a child wrote to its stderr.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	if cut := len(t.text) - tailBytes; cut > 0 {
		t.text = t.text[cut:]
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.text))
}
