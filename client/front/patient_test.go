package front

import (
	"errors"
	"io"
	"net"
	"os"
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
