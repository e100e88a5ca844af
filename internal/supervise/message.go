package supervise

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// What a message is. Up to Failed the child sends them, the rest the parent.
const (
	isUp     = "up"     // this node serves; its record comes along
	isBeat   = "beat"   // from its work loop
	isDone   = "done"   // Serve ended in good order
	isFailed = "failed" // Serve ended with an error
	isStop   = "stop"   // end, with the grace that the options name
	isEvict  = "evict"  // take nothing new, end the sessions by the deadline
	isRetire = "retire" // take nothing new, end when the sessions have
)

// message is one packet between parent and child.
type message struct {
	Is       string        `json:"is"`
	Node     string        `json:"node,omitempty"`
	Record   string        `json:"record,omitempty"` // path of its start record
	Load                   // in a beat
	Deadline time.Duration `json:"deadline,omitempty"` // nanoseconds
	Text     string        `json:"text,omitempty"`
}

// Bounds of a message.
const (
	packetMost = 16 << 10
	textMost   = 4 << 10
)

// link is one end of the socket pair. Sending never waits: a beat that does not
// fit is missed, and everything else is small and rare.
type link struct{ conn *net.UnixConn }

// pair makes the parent's end, and the file that the child inherits.
func pair() (*link, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair: %w", err)
	}
	child := os.NewFile(uintptr(fds[1]), "link")
	l, err := newLink(fds[0])
	if err != nil {
		return nil, nil, errors.Join(err, child.Close())
	}
	return l, child, nil
}

// newLink takes over a descriptor.
func newLink(fd int) (*link, error) {
	f := os.NewFile(uintptr(fd), "link")
	conn, err := net.FileConn(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.Join(errors.New("it is no unix socket"), conn.Close())
	}
	return &link{u}, nil
}

// send sends m, with a file where one is given, or drops it.
func (l *link) send(m message, file *os.File) error {
	m.Text = m.Text[:min(len(m.Text), textMost)]
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var rights []byte
	if file != nil {
		rights = unix.UnixRights(int(file.Fd()))
	}
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	if err := raw.Write(func(fd uintptr) bool {
		sent = unix.Sendmsg(int(fd), b, rights, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return true
	}); err != nil {
		return err
	}
	return sent
}

// receive waits for the next message and the file that comes with it. It fails
// once the other side is gone.
func (l *link) receive() (m message, file *os.File, err error) {
	b, rights := make([]byte, packetMost), make([]byte, unix.CmsgSpace(4))
	n, r, _, _, err := l.conn.ReadMsgUnix(b, rights)
	switch {
	case err != nil:
		return m, nil, err
	case n == 0:
		return m, nil, net.ErrClosed
	}
	if err := json.Unmarshal(b[:n], &m); err != nil {
		return m, nil, fmt.Errorf("message: %w", err)
	}
	return m, fileOf(rights[:r]), nil
}

// fileOf is the file in a control message, nil where there is none.
func fileOf(rights []byte) *os.File {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) == 0 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) == 0 {
		return nil
	}
	return os.NewFile(uintptr(fds[0]), "record")
}

func (l *link) close() { _ = l.conn.Close() }
