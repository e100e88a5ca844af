package program

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// What a dead child has said is read to its end also where nobody came to read
// in time; one that goes on is not read for ever.
func TestRemainsAreRead(t *testing.T) {
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = in.Close(), out.Close() }()
	said := bytes.Repeat([]byte("the last words\n"), 1000)
	if _, err := in.Write(said); err != nil {
		t.Fatal(err)
	}
	if err := out.SetDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	r := remainsOf(out)
	got, err := io.ReadAll(r)
	if !bytes.Equal(got, said) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d of %d bytes are read, %v", len(got), len(said), err)
	}
	for taken := len(said); ; {
		if _, err := in.Write(said[:100]); err != nil {
			t.Fatal(err)
		}
		n, err := r.Read(make([]byte, 100))
		if taken += n; err != nil {
			if taken != pipeMost {
				t.Errorf("it is over after %d bytes, want %d", taken, pipeMost)
			}
			return
		}
	}
}
