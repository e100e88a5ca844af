package supervise

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What one side sends the other receives, with its file; what it cannot read is
// an error, and so is the other's end.
func TestLink(t *testing.T) {
	a, file, err := pair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Dup(int(file.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	b, err := newLink(fd)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
	lent, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.send(message{Is: isUp, Node: "7", Text: strings.Repeat("x", 2*textMost)}, lent); err != nil {
		t.Fatal(err)
	}
	m, got, err := a.receive()
	if err != nil || m.Is != isUp || m.Node != "7" || len(m.Text) != textMost || got == nil {
		t.Fatalf("received %s of %d bytes, %v, %v", m.Is, len(m.Text), got, err)
	}
	one, _ := lent.Stat()
	two, err := got.Stat()
	if err != nil || !os.SameFile(one, two) {
		t.Errorf("another file came, %v", err)
	}
	if _, err := b.conn.Write([]byte("no message")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.receive(); err == nil {
		t.Error("garbage is taken for a message")
	}
	for b.send(message{Is: isBeat}, nil) == nil { // nobody reads: it does not wait
		continue
	}
	b.close()
	for err = nil; err == nil; {
		_, _, err = a.receive()
	}
	a.close()
	if err := got.Close(); err != nil {
		t.Error(err)
	}
	if err := lent.Close(); err != nil {
		t.Error(err)
	}
}
