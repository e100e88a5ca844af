//go:build linux

package hostlock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Errors of the post.
var (
	ErrUnseated = errors.New("this process has not registered the candidate")
	ErrAbsent   = errors.New("the candidate has no socket")
	ErrFull     = errors.New("the candidate's queue is full")
	ErrTooLong  = errors.New("the message is too long")
)

// MaxDatagram is the most bytes of one message between candidates.
const MaxDatagram = 4096

// A datagram is a magic, the sender's candidate id, and the message.
const (
	datagramMagic = "LBT1"
	headerSize    = len(datagramMagic) + 8
	strangersMax  = 64 // in a row before Recv gives the caller a turn
)

// Post carries messages between the candidates of a cell, as unix datagrams.
// Send may be called by several goroutines, Recv and Wait by one at a time
// each.
type Post struct {
	// fixed after Join
	cell      *Cell
	candidate uint64
	uid       uint32
	socket    *os.File
	raw       syscall.RawConn

	strangers atomic.Uint64

	// the receiver's
	header [headerSize]byte
	oob    []byte           // room for the sender's credentials and nothing else: passed files do not fit
	pids   map[uint64]int32 // of candidates, as their seats said
	once   sync.Once
	closed error
}

// Join binds a candidate's socket. The candidate is one that this Cell has
// registered (else ErrUnseated), so that a socket of that name that is there
// already is a dead one's.
func (c *Cell) Join(candidate uint64) (*Post, error) {
	p, err := c.join(candidate)
	if err != nil {
		return nil, fmt.Errorf("join cell %s as candidate %016x: %w", c.path, candidate, err)
	}
	return p, nil
}

func (c *Cell) join(candidate uint64) (*Post, error) {
	c.mu.Lock()
	s := c.seats[candidate]
	c.mu.Unlock()
	if s == nil {
		return nil, ErrUnseated
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.post != nil {
		return nil, fmt.Errorf("it has left, or joined before: %w", ErrUnseated)
	}
	if err := c.remove(sockName(candidate)); err != nil {
		return nil, err
	}
	p := &Post{
		cell: c, candidate: candidate, uid: uint32(os.Geteuid()),
		oob: make([]byte, unix.CmsgSpace(unix.SizeofUcred)), pids: map[uint64]int32{},
	}
	if err := p.bind(); err != nil {
		return nil, err
	}
	s.post = p
	return p, nil
}

func (p *Post) bind() error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	p.socket = os.NewFile(uintptr(fd), sockName(p.candidate))
	if p.raw, err = p.socket.SyscallConn(); err == nil {
		err = errors.Join(
			unix.Fchmod(fd, 0o600), // before bind: so it is born with that mode
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PASSCRED, 1),
		)
	}
	if err == nil {
		err = p.cell.reach(p.candidate, func(to *unix.SockaddrUnix) error { return unix.Bind(fd, to) })
	}
	if err != nil {
		return errors.Join(err, p.socket.Close())
	}
	return nil
}

// reach calls do with the address of a candidate's socket. The way through
// /proc/self/fd makes it short, wherever the cell is: an address has 108 bytes.
func (c *Cell) reach(candidate uint64, do func(*unix.SockaddrUnix) error) error {
	raw, err := c.dir.SyscallConn()
	if err != nil {
		return err
	}
	var done error
	err = control(raw, func(fd uintptr) {
		done = do(&unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", fd, sockName(candidate))})
	})
	return errors.Join(err, done)
}

// Send gives a candidate a message, or drops it: it never waits. ErrAbsent:
// the candidate has not joined, or has left or died; ErrFull: it does not
// read, being stopped or slow; ErrTooLong: more than MaxDatagram bytes.
func (p *Post) Send(to uint64, msg []byte) error {
	if len(msg) > MaxDatagram {
		return fmt.Errorf("send %d bytes to candidate %016x: %w", len(msg), to, ErrTooLong)
	}
	header := binary.BigEndian.AppendUint64([]byte(datagramMagic), p.candidate)
	err := p.cell.reach(to, func(addr *unix.SockaddrUnix) error { return p.sendto(addr, header, msg) })
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOBUFS):
		err = ErrFull
	case errors.Is(err, unix.ECONNREFUSED): // nobody behind the name: a dead candidate's
		err = ErrAbsent
		if swept := p.cell.sweep(to); swept != nil {
			err = errors.Join(err, swept)
		}
	case errors.Is(err, unix.ENOENT):
		err = ErrAbsent
	}
	return fmt.Errorf("send to candidate %016x: %w", to, err)
}

func (p *Post) sendto(addr *unix.SockaddrUnix, header, msg []byte) error {
	var sent error
	err := control(p.raw, func(fd uintptr) {
		_, sent = unix.SendmsgBuffers(int(fd), [][]byte{header, msg}, nil, addr, unix.MSG_NOSIGNAL)
	})
	return errors.Join(err, sent)
}

// Recv takes a message that has arrived, without waiting: n bytes of buf, from
// that candidate. What does not come from the process that has the
// candidate's seat, is no message, or does not fit, is dropped and counted.
// Not ok: there is none.
func (p *Post) Recv(buf []byte) (from uint64, n int, ok bool) {
	for range strangersMax {
		n, from, known, err := p.receive(buf)
		if err != nil {
			return 0, 0, false
		}
		if known {
			return from, n, true
		}
		p.strangers.Add(1)
	}
	return 0, 0, false
}

func (p *Post) receive(buf []byte) (n int, from uint64, known bool, err error) {
	var oobn, flags int
	var got error
	err = control(p.raw, func(fd uintptr) {
		for {
			n, oobn, flags, _, got = unix.RecvmsgBuffers(int(fd), [][]byte{p.header[:], buf}, p.oob, unix.MSG_CMSG_CLOEXEC)
			if !errors.Is(got, unix.EINTR) {
				return
			}
		}
	})
	if err = errors.Join(err, got); err != nil {
		return 0, 0, false, err
	}
	whole := n >= headerSize && string(p.header[:len(datagramMagic)]) == datagramMagic && flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) == 0
	if !whole {
		return 0, 0, false, nil
	}
	from = binary.BigEndian.Uint64(p.header[len(datagramMagic):])
	return n - headerSize, from, p.knows(from, p.oob[:oobn]), nil
}

// knows says whether the credentials that the kernel has added are those of
// the process that has the candidate's seat.
func (p *Post) knows(from uint64, oob []byte) bool {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return false
	}
	cred, err := unix.ParseUnixCredentials(&messages[0])
	if err != nil || cred.Uid != p.uid || cred.Pid == 0 {
		return false
	}
	if p.pids[from] == cred.Pid {
		return true
	}
	h, _, err := p.cell.seated(from)
	if err != nil || h.PID != int(cred.Pid) {
		return false
	}
	if len(p.pids) >= MaxCandidates { // of candidates that have gone
		clear(p.pids)
	}
	p.pids[from] = cred.Pid
	return true
}

// Wait waits until there is something to receive (a stranger's too), at most
// for timeout. Not: nothing came; or the Post is closed, then at once.
func (p *Post) Wait(timeout time.Duration) bool {
	if err := p.socket.SetReadDeadline(time.Now().Add(max(timeout, 0))); err != nil {
		return false
	}
	ready := false
	ask := func(fd uintptr) bool {
		ready, _ = readable(fd, 0)
		return ready
	}
	if timeout <= 0 {
		_ = control(p.raw, func(fd uintptr) { ask(fd) })
	} else {
		_ = p.raw.Read(ask)
	}
	return ready
}

// Strangers is how many datagrams have been dropped because they were not a
// candidate's, or no messages.
func (p *Post) Strangers() uint64 { return p.strangers.Load() }

// Close removes the socket; a Wait ends. A second Close does nothing.
func (p *Post) Close() error {
	p.once.Do(func() { p.closed = errors.Join(p.cell.remove(sockName(p.candidate)), p.socket.Close()) })
	return p.closed
}
