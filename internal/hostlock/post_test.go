//go:build linux

package hostlock

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func join(t testing.TB, c *Cell, candidate uint64) *Post {
	t.Helper()
	register(t, c, candidate)
	p, err := c.Join(candidate)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// receives waits for a message and checks it.
func receives(t testing.TB, p *Post, from uint64, want string) {
	t.Helper()
	buf := make([]byte, MaxDatagram)
	for p.Wait(aMinute) {
		if sender, n, ok := p.Recv(buf); ok {
			if sender != from || string(buf[:n]) != want {
				t.Errorf("%q from %d, want %q from %d", buf[:n], sender, want, from)
			}
			return
		}
	}
	t.Fatalf("%q has not come", want)
}

// nothing checks that there is nothing to receive.
func nothing(t testing.TB, p *Post) {
	t.Helper()
	if from, n, ok := p.Recv(make([]byte, MaxDatagram)); ok {
		t.Errorf("%d bytes from %d", n, from)
	}
	if p.Wait(0) {
		t.Error("there is something to receive")
	}
}

func TestPost(t *testing.T) {
	// Longer than the address of a socket may be.
	c := open(t, filepath.Join(t.TempDir(), strings.Repeat("long", 50)))
	other := open(t, c.Dir())
	a, b := join(t, c, 1), join(t, other, 2)
	nothing(t, b)
	big := strings.Repeat("x", MaxDatagram)
	for _, msg := range []string{"beat", "", big} {
		if err := a.Send(2, []byte(msg)); err != nil {
			t.Fatal(err)
		}
		receives(t, b, 1, msg)
		if err := b.Send(1, []byte(msg)); err != nil {
			t.Fatal(err)
		}
		receives(t, a, 2, msg)
	}
	if err := a.Send(1, []byte("to itself")); err != nil {
		t.Error(err)
	}
	receives(t, a, 1, "to itself")
	nothing(t, a)

	if err := a.Send(2, make([]byte, MaxDatagram+1)); !errors.Is(err, ErrTooLong) {
		t.Errorf("%v, want ErrTooLong", err)
	}
	if err := a.Send(3, nil); !errors.Is(err, ErrAbsent) {
		t.Errorf("%v, want ErrAbsent", err)
	}
	if info, err := os.Stat(filepath.Join(c.Dir(), sockName(1))); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket: %v, %v, want mode 0600", info.Mode(), err)
	}
	if n := a.Strangers() + b.Strangers(); n != 0 {
		t.Errorf("%d strangers", n)
	}
}

func TestJoinNeedsASeat(t *testing.T) {
	c := cell(t)
	if _, err := c.Join(1); !errors.Is(err, ErrUnseated) {
		t.Errorf("%v, want ErrUnseated", err)
	}
	seat := register(t, c, 1)
	if _, err := open(t, c.Dir()).Join(1); !errors.Is(err, ErrUnseated) {
		t.Errorf("through another Cell: %v, want ErrUnseated", err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir(), sockName(1)), nil, 0o600); err != nil { // in the way, and not a living one's
		t.Fatal(err)
	}
	if _, err := c.Join(1); err != nil {
		t.Error(err)
	}
	if _, err := c.Join(1); !errors.Is(err, ErrUnseated) {
		t.Errorf("twice: %v, want ErrUnseated", err)
	}
	if err := seat.Close(); err != nil {
		t.Error(err)
	}
	if _, err := c.Join(1); !errors.Is(err, ErrUnseated) {
		t.Errorf("after it has left: %v, want ErrUnseated", err)
	}
}

func TestCloseEndsTheWait(t *testing.T) {
	c := cell(t)
	p := join(t, c, 1)
	waited := make(chan bool)
	go func() { waited <- p.Wait(aMinute) }()
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if <-waited {
		t.Error("something came")
	}
	nothing(t, p)
	if err := p.Send(1, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("send: %v", err)
	}
	if _, err := os.Stat(filepath.Join(c.Dir(), sockName(1))); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// One that does not read costs its senders nothing but the messages to it.
func TestFullQueue(t *testing.T) {
	c := cell(t)
	a, _, b := join(t, c, 1), join(t, c, 2), join(t, c, 3)
	var err error
	for range 1 << 20 {
		if err = a.Send(2, []byte("beat")); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrFull) {
		t.Errorf("%v, want ErrFull", err)
	}
	if err := a.Send(3, []byte("beat")); err != nil {
		t.Error(err)
	}
	receives(t, b, 1, "beat")
}

// speak sends one message as the candidate that arg names, whether it has its
// seat or not, to candidate 1; with a file attached if the candidate is odd.
func speak(dir string, arg uint64) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	var oob []byte
	if arg%2 == 1 {
		oob = unix.UnixRights(0)
	}
	msg := append(binary.BigEndian.AppendUint64([]byte(datagramMagic), arg), "beat"...)
	err = unix.Sendmsg(fd, msg, oob, &unix.SockaddrUnix{Name: filepath.Join(dir, sockName(1))}, 0)
	if err == nil {
		fmt.Println("sent")
	}
	return err
}

func TestStrangers(t *testing.T) {
	c := cell(t)
	a, b := join(t, c, 1), join(t, c, 2)
	for i, candidate := range []uint64{2, 4, 3} { // another's id, nobody's, and one with a file attached
		stranger := start(t, "speak", c.Dir(), candidate)
		stranger.line(t)
		nothing(t, a)
		if n := a.Strangers(); n != uint64(i)+1 {
			t.Errorf("candidate %d: %d strangers, want %d", candidate, n, i+1)
		}
	}

	raw := func(content []byte, oob []byte) {
		t.Helper()
		err := c.reach(1, func(to *unix.SockaddrUnix) error {
			return errors.Join(b.raw.Control(func(fd uintptr) {
				if err := unix.Sendmsg(int(fd), content, oob, to, 0); err != nil {
					t.Error(err)
				}
			}))
		})
		if err != nil {
			t.Error(err)
		}
	}
	mine := binary.BigEndian.AppendUint64([]byte(datagramMagic), 2)
	before := a.Strangers()
	other := bytes.Replace(mine, []byte("LBT1"), []byte("LBT2"), 1)
	long := append(bytes.Clone(mine), make([]byte, MaxDatagram+1)...)
	bad := [][]byte{nil, []byte("L"), mine[:headerSize-1], other, long}
	for _, content := range bad {
		raw(content, nil)
	}
	fds := len(files(t, "/proc/self/fd"))
	raw(mine, unix.UnixRights(0, 1, 2)) // files, from one who may speak
	nothing(t, a)
	if n := a.Strangers() - before; n != uint64(len(bad))+1 {
		t.Errorf("%d dropped, want %d", n, len(bad)+1)
	}
	if now := len(files(t, "/proc/self/fd")); now != fds {
		t.Errorf("%d open files, %d before", now, fds)
	}

	a.uid++ // the same sender, of another user
	if err := b.Send(1, []byte("beat")); err != nil {
		t.Error(err)
	}
	nothing(t, a)
	a.uid--
	if err := b.Send(1, []byte("beat")); err != nil {
		t.Error(err)
	}
	receives(t, a, 2, "beat")
}

// Another user does not get as far as the socket, not even into a folder that
// everybody may look into.
func TestOtherUsersCannotSend(t *testing.T) {
	root(t, "starting a process of another user")
	dir, err := os.MkdirTemp("", "hostlock") //nolint:usetesting // t.TempDir's parents are closed to others
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "speaker")
	if err := os.WriteFile(program, exe, 0o755); err != nil {
		t.Fatal(err)
	}
	c := open(t, dir)
	a := join(t, c, 1)
	other := exec.Command(program, dir, "2")
	other.Env = append(os.Environ(), partVar+"=speak")
	other.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := other.CombinedOutput(); err == nil || !strings.Contains(string(out), syscall.EACCES.Error()) {
		t.Errorf("%s, %v, want %v", out, err, syscall.EACCES)
	}
	nothing(t, a)
}

func BenchmarkSendAndReceive(b *testing.B) {
	c := cell(b)
	from, to := join(b, c, 1), join(b, c, 2)
	msg, buf := make([]byte, 64), make([]byte, MaxDatagram)
	for b.Loop() {
		if err := from.Send(2, msg); err != nil {
			b.Fatal(err)
		}
		if _, _, ok := to.Recv(buf); !ok {
			b.Fatal("nothing came")
		}
	}
}
