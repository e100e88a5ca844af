//go:build linux

package hostlock

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// The tests re-execute themselves: a child has one of these parts, writes
// lines to its standard output, and ends when its standard input does.
var parts = map[string]func(dir string, arg uint64) error{
	"idle":    idle,
	"hold":    hold,
	"claim":   claimOn,
	"contend": contend,
	"write":   writeOn,
	"speak":   speak,
	"recycle": recycle,
	"sealed":  sealed,
}

const partVar = "HOSTLOCK_TEST_PART"

func TestMain(m *testing.M) {
	part, ok := parts[os.Getenv(partVar)]
	if !ok {
		goleak.VerifyTestMain(m)
		return
	}
	arg, err := strconv.ParseUint(os.Args[2], 10, 64)
	if err == nil {
		err = part(os.Args[1], arg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type child struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func spawn(part, dir string, arg uint64, attr *syscall.SysProcAttr) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{Cmd: exec.Command(exe, dir, strconv.FormatUint(arg, 10))}
	c.Env = append(os.Environ(), partVar+"="+part)
	c.Stderr = os.Stderr
	c.SysProcAttr = attr
	in, inErr := c.StdinPipe()
	out, outErr := c.StdoutPipe()
	c.in, c.out = in, bufio.NewScanner(out)
	return c, errors.Join(inErr, outErr, c.Start())
}

// start starts a child that ends with the test.
func start(t testing.TB, part, dir string, arg uint64) *child {
	t.Helper()
	c, err := spawn(part, dir, arg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return c
}

// apart starts a child in namespaces of its own, or skips the test where that
// is forbidden.
func apart(t testing.TB, part, dir string, arg uint64, namespaces uintptr) *child {
	t.Helper()
	c, err := spawn(part, dir, arg, &syscall.SysProcAttr{Cloneflags: namespaces})
	if errors.Is(err, fs.ErrPermission) {
		t.Skipf("not run: namespaces need root and CAP_SYS_ADMIN: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// line is the child's next word.
func (c *child) line(t testing.TB) string {
	t.Helper()
	if !c.out.Scan() {
		t.Fatalf("the child said nothing more: %v", c.out.Err())
	}
	return c.out.Text()
}

// kill ends the child as a crash does, and waits for it.
func (c *child) kill(t testing.TB) {
	t.Helper()
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
}

func (c *child) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := c.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// stop stops the child, and returns when it stands.
func (c *child) stop(t testing.TB) {
	t.Helper()
	c.signal(t, unix.SIGSTOP)
	var status unix.WaitStatus
	if _, err := unix.Wait4(c.Process.Pid, &status, unix.WUNTRACED, nil); err != nil || !status.Stopped() {
		t.Fatalf("stopped: %v, %v", status.Stopped(), err)
	}
}

// holder is the record that the child says it is.
func (c *child) holder(t testing.TB) Holder {
	t.Helper()
	h, err := parseHolder(c.line(t))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func parseHolder(line string) (Holder, error) {
	b, err := hex.DecodeString(line)
	if err != nil {
		return Holder{}, err
	}
	h, _, err := decode(b)
	return h, err
}

func untilClosed() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// idle says who it is.
func idle(dir string, candidate uint64) error {
	c, err := OpenCell(dir)
	if err != nil {
		return err
	}
	h, err := c.Self(candidate, "")
	if err != nil {
		return err
	}
	fmt.Printf("%x\n", h.encode(0))
	return untilClosed()
}

// hold registers, joins, takes the lock, claims the next epoch and says who it
// is.
func hold(dir string, candidate uint64) error {
	c, err := OpenCell(dir)
	if err != nil {
		return err
	}
	h, err := c.Self(candidate, "tcp://127.0.0.1:7777")
	if err != nil {
		return err
	}
	seat, err := c.Register(h)
	if err != nil {
		return err
	}
	if _, err := c.Join(candidate); err != nil {
		return err
	}
	lock, err := c.TryLock()
	if err != nil {
		return err
	}
	last, err := lock.Recorded()
	if err != nil {
		return err
	}
	h.Epoch, h.Cell = last.Epoch+1, c.ID()
	if err := lock.Claim(h); err != nil {
		return err
	}
	fmt.Printf("%x\n", h.encode(0))
	return errors.Join(untilClosed(), lock.Release(), seat.Close())
}

// claimOn claims one epoch after the other and says each that it has claimed.
func claimOn(dir string, candidate uint64) error {
	c, err := OpenCell(dir)
	if err != nil {
		return err
	}
	lock, err := c.TryLock()
	if err != nil {
		return err
	}
	h, err := c.Self(candidate, "")
	if err != nil {
		return err
	}
	last, err := lock.Recorded()
	if err != nil {
		return err
	}
	for h.Epoch = last.Epoch + 1; ; h.Epoch++ {
		if err := lock.Claim(h); err != nil {
			return err
		}
		fmt.Println(h.Epoch)
	}
}

// writeOn writes records over and over, without the syncs, so that readers
// meet it halfway. It ends with its standard input.
func writeOn(dir string, candidate uint64) error {
	c, err := OpenCell(dir)
	if err != nil {
		return err
	}
	lock, err := c.TryLock()
	if err != nil {
		return err
	}
	h, err := c.Self(candidate, "")
	if err != nil {
		return err
	}
	h.Cell, h.Epoch = c.ID(), 1
	if err := lock.Claim(h); err != nil {
		return err
	}
	fmt.Println("writing")
	closed := make(chan error, 1)
	go func() { closed <- untilClosed() }()
	for side := 0; ; side = 1 - side {
		h.Epoch++
		h.Endpoint = strings.Repeat(string('a'+rune(h.Epoch%26)), MaxEndpoint)
		for _, at := range []int{side, 1 - side} {
			if _, err := lock.file.WriteAt(h.encode(side), int64(at)*stride); err != nil {
				return err
			}
		}
		select {
		case err := <-closed:
			return err
		default:
		}
	}
}

const contended = 200 // epochs that the contenders share

// contend takes the lock as often as it gets it, until all epochs are used,
// and makes a file while it has it: two at the same time would meet there.
func contend(dir string, candidate uint64) error {
	c, err := OpenCell(dir)
	if err != nil {
		return err
	}
	h, err := c.Self(candidate, "")
	if err != nil {
		return err
	}
	inside := filepath.Join(dir, "inside")
	for {
		lock, err := c.TryLock()
		if errors.Is(err, ErrHeld) {
			continue
		}
		if err != nil {
			return err
		}
		last, err := lock.Recorded()
		if err != nil {
			return err
		}
		if last.Epoch >= contended {
			return lock.Release()
		}
		h.Epoch = last.Epoch + 1
		f, err := os.OpenFile(inside, os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return fmt.Errorf("two have the lock: %w", err)
		}
		err = errors.Join(f.Close(), lock.Claim(h), os.Remove(inside), lock.Release())
		if err != nil {
			return err
		}
		fmt.Println(h.Epoch)
	}
}
