package zmqio

import (
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/limpet-rpc/limpet/internal/zmtp"
)

// standing gives a socket of a loop that nobody runs a link whose handshake is
// over, and what is at its other end.
func standing(t *testing.T, s *socket) (k *link, far net.Conn) {
	t.Helper()
	k, far = begun(t, s)
	if _, err := io.ReadFull(far, make([]byte, zmtp.GreetingSize)); err != nil {
		t.Fatal(err)
	}
	k.stage = flowing
	return k, far
}

// begun is standing before the far side has said anything.
func begun(t *testing.T, s *socket) (k *link, far net.Conn) {
	t.Helper()
	ends, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(ends[1]), "far")
	far, err = net.FileConn(file)
	_ = file.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = far.Close() })
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begin(ends[0], greeting, nil)
	for k = range s.links {
		if k.watch.fd == ends[0] {
			return k, far
		}
	}
	t.Fatal("no link was made")
	return nil, nil
}

// listening is a ROUTER without a listener, in a loop that nobody runs.
func listening(l *Loop) *socket {
	s := newSocket(l, zmtp.Router, "")
	l.attach(s)
	return s
}

// say writes to the near side.
func say(t *testing.T, far net.Conn, bytes []byte) {
	t.Helper()
	if _, err := far.Write(bytes); err != nil {
		t.Fatal(err)
	}
}
