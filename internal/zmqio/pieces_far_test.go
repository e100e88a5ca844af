package zmqio

import (
	"encoding/binary"
	"net"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/internal/zmtp"
)

// small has the kernel take little at a time.
func small(t *testing.T, fd int) {
	t.Helper()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, 4096); err != nil {
		t.Fatal(err)
	}
}

// numberedEnvelope is one that a reader knows again.
func numberedEnvelope(number uint32, size int) []byte {
	env := make([]byte, 8+size)
	binary.BigEndian.PutUint32(env, number)
	binary.BigEndian.PutUint32(env[4:], uint32(len(env)))
	for i := range size {
		env[8+i] = byte(number)
	}
	return env
}

// reader is a far end that looks at all it gets.
type reader struct {
	far  net.Conn
	held []byte
	last uint32 // the number that is expected next
}

func newReader(far net.Conn) *reader { return &reader{far: far} }

func (r *reader) again(far net.Conn) { r.far, r.held = far, nil }

// some reads what is there, of at most so many bytes.
func (r *reader) some(most int) (n int) {
	into := make([]byte, most+1)
	_ = r.far.SetReadDeadline(time.Now().Add(time.Millisecond))
	n, _ = r.far.Read(into)
	r.held = append(r.held, into[:n]...)
	return n
}

func (r *reader) all() {
	for r.some(1<<20) > 0 {
	}
}

// end judges what has come.
func (r *reader) end(t *testing.T) {
	t.Helper()
	for {
		h, n, err := zmtp.ReadHead(r.held)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 || len(r.held) < n+int(h.Size) {
			return
		}
		frame := r.held[n : n+int(h.Size)]
		r.held = r.held[n+int(h.Size):]
		if h.Command {
			continue
		}
		envelopes, err := wire.Split(frame)
		if err != nil {
			t.Fatal(err)
		}
		for env, ok := envelopes.Next(); ok; env, ok = envelopes.Next() {
			number := binary.BigEndian.Uint32(env)
			if number < r.last || int(binary.BigEndian.Uint32(env[4:])) != len(env) || len(env) > 8 && env[len(env)-1] != byte(number) {
				t.Fatalf("number %d of %d bytes came after %d", number, len(env), r.last)
			}
			r.last = number + 1
		}
		if envelopes.Err() != nil {
			t.Fatal(envelopes.Err())
		}
	}
}
