package front

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"testing"
	"time"
)

// A write that nobody reads ends; one that is read has its time anew, however long
// ago the last one was.
func TestConnectionThatIsNotRead(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	c := &patientConn{Conn: near, time: time.Hour}
	defer c.Close()
	go func() {
		_, _ = io.CopyN(io.Discard, far, 6) // and nothing after that
	}()
	c.said = time.Now().Add(-2 * c.time)
	if err := c.SetWriteDeadline(c.said.Add(c.time)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("answer")); err != nil {
		t.Fatalf("an answer that is read: %v", err)
	}
	c.time, c.said = time.Millisecond, time.Time{}
	if _, err := c.Write([]byte("answer")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("an answer that nobody reads: %v", err)
	}
}

// bound counts the writes that may take for ever.
type bound struct {
	net.Conn
	until   time.Time
	writes  *atomic.Int64
	forever *atomic.Int64
}

func (b *bound) SetWriteDeadline(until time.Time) error {
	b.until = until
	return b.Conn.SetWriteDeadline(until)
}

func (b *bound) Write(p []byte) (int, error) {
	b.writes.Add(1)
	if b.until.IsZero() {
		b.forever.Add(1)
	}
	return b.Conn.Write(p)
}

type boundListener struct {
	net.Listener
	conns, writes, forever atomic.Int64
}

func (l *boundListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.conns.Add(1)
	return &bound{Conn: c, writes: &l.writes, forever: &l.forever}, nil
}

// net/http takes a write's deadline back after every answer; the next answer by the
// same connection has one all the same.
func TestEveryAnswerOfAConnectionHasItsTime(t *testing.T) {
	l := &boundListener{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		send(w, http.StatusOK, []byte("answer"))
	}))
	l.Listener = s.Listener
	s.Listener = patient{l}
	s.Start()
	defer s.Close()
	const answers = 5
	for range answers {
		r, err := s.Client().Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			t.Fatal(err)
		}
		_ = r.Body.Close()
	}
	if l.conns.Load() != 1 || l.writes.Load() < answers {
		t.Fatalf("%d answers by %d connections in %d writes, want one connection", answers, l.conns.Load(), l.writes.Load())
	}
	if n := l.forever.Load(); n != 0 {
		t.Errorf("%d of %d writes may wait for ever", n, l.writes.Load())
	}
}

// net/http ends its side of a connection whose request it does not read to the end,
// and waits a moment: its client finds the answer, and that it was the last.
func TestHalfOfAConnectionIsClosed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	near, err := patient{l}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	half, ok := near.(interface{ CloseWrite() error })
	if !ok {
		t.Fatal("net/http cannot close its half of the connection")
	}
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read %d, %v", n, err)
	}
	if _, err := far.Write([]byte("more")); err != nil {
		t.Errorf("the other half: %v", err)
	}
}
