package startrec

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/limpet-rpc/limpet/session"
)

// A record is nobody's to take while its owner lives, says exactly what was
// started once it is dead, and is taken once.
func TestRecord(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "records")
	r, err := Create(dir, 7, 3)
	if err != nil {
		t.Fatal(err)
	}
	a, b := uuid.New(), uuid.New()
	r.Slot(0).Begin(a)
	r.Slot(0).Start(5)
	r.Slot(2).Begin(uuid.New())
	r.Slot(2).Start(9)
	r.Slot(2).Begin(b)
	if got, err := Collect(dir); err != nil || len(got) != 0 {
		t.Fatalf("a living node's record was taken: %v, %v", got, err)
	}
	if err := errors.Join(unix.Munmap(r.mem), r.file.Close()); err != nil { // as a death does
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "junk.rec"), []byte("not a record"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Collect(dir)
	if err != nil || len(got) != 1 || got[0].Node != 7 {
		t.Fatalf("%v, %v", got, err)
	}
	if s := got[0].Started; len(s) != 2 || s[a] != 5 || s[b] != 0 {
		t.Errorf("started %v, want %v: 5 and %v: 0", s, a, b)
	}
	if again, err := Collect(dir); err != nil || len(again) != 0 {
		t.Errorf("it was taken twice: %v, %v", again, err)
	}
}

// Whoever shares a record's lock has time to leave the cause of the death, which
// is taken with the record; for a record that is gone none is left.
func TestCause(t *testing.T) {
	dir := t.TempDir()
	r, err := Create(dir, 9, 1)
	if err != nil {
		t.Fatal(err)
	}
	record := Path(dir, 9)
	fd, err := unix.Dup(int(r.File().Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Munmap(r.mem), r.file.Close()); err != nil { // as a death does
		t.Fatal(err)
	}
	if got, err := Collect(dir); err != nil || len(got) != 0 {
		t.Fatalf("taken while its lock was shared: %v, %v", got, err)
	}
	want := session.Death{Code: session.ErrWorkerHung, Text: "no beat", Dump: "goroutine 1"}
	if err := errors.Join(LeaveCause(record, want), unix.Close(fd)); err != nil {
		t.Fatal(err)
	}
	got, err := Collect(dir)
	if err != nil || len(got) != 1 || got[0].Cause != want {
		t.Errorf("%+v, %v, want cause %+v", got, err, want)
	}
	if err := LeaveCause(record, want); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// A node that ends on purpose leaves no record.
func TestRemove(t *testing.T) {
	dir := t.TempDir()
	r, err := Create(dir, 8, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Remove(dir); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// Whatever a file holds, reading it takes no more than it is.
func FuzzParse(f *testing.F) {
	f.Add([]byte(magic))
	f.Add(append([]byte(magic), make([]byte, headerSize+slotSize)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, ok := parse(b); ok && len(o.Started) > len(b)/slotSize {
			t.Errorf("%d sessions in %d bytes", len(o.Started), len(b))
		}
	})
}
