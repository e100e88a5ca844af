package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/limpet-rpc/limpet/session"
)

// A file that fails in the middle has its call cancelled; nobody has interrupted it.
func TestFileFailsInTheMiddle(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no device that is full here: ", err)
	}
	defer func() { _ = full.Close() }()
	_, err = full.Write([]byte{1})
	call := &session.Error{Code: session.ErrCancelled, Outcome: session.Unknown, Text: "the reply could not be written", Cause: err}
	if err == nil || exitCode(call) != exitOther {
		t.Errorf("%v: exit code %d, want %d", err, exitCode(call), exitOther)
	}
}

// A file goes through a worker and comes back as it was, on a terminal with a
// bar, and FILE.part is there only where the call was not done.
func TestCallWithFiles(t *testing.T) {
	c := newCell(t)
	c.serve(t, "bench")
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	content := make([]byte, 10<<20)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // it never fails
	if err := os.WriteFile(in, content, 0o600); err != nil {
		t.Fatal(err)
	}
	back := func(what string) {
		t.Helper()
		got, err := os.ReadFile(out)
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes come back, %v", what, len(got), err)
		}
		if err := os.Remove(out); err != nil {
			t.Error(err)
		}
	}
	if got := c.limpet(t, "", "call", "lab", "back", "--in", in, "--out", out, "--checksum"); got.code != 0 || got.out+got.err != "" {
		t.Errorf("%+v", got)
	}
	back("files")
	if got := c.limpet(t, string(content), "call", "lab", "back", "--in", "-", "--out", "-"); got.code != 0 || got.out != string(content) || got.err != "" {
		t.Errorf("through pipes: %d bytes come back, exit code %d, %s", len(got.out), got.code, got.err)
	}
	p := c.onTerminal(t, "call", "lab", "back", "--in", in, "--out", out)
	p.expect("received")
	if code := p.ended(); code != 0 {
		t.Errorf("on a terminal: exit code %d", code)
	}
	back("on a terminal")

	for _, test := range []struct {
		args []string
		code int
	}{
		{[]string{"fail", "--out", out}, exitMethod},
		{[]string{"back", "--in", in, "1"}, exitUsage},
		{[]string{"back", "--in", filepath.Join(dir, "none")}, exitUsage},
		{[]string{"back", "--in", dir}, exitUsage},
		{[]string{"back", "--in", in, "--out", filepath.Join(dir, "none", "out")}, exitUsage},
		{[]string{"add", "1", "--out", out}, exitRefused},
	} {
		if got := c.limpet(t, "", append([]string{"call", "lab"}, test.args...)...); got.code != test.code || got.err == "" {
			t.Errorf("%q: %+v, want exit code %d", test.args, got, test.code)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%q leaves a file", test.args)
		}
	}
}
