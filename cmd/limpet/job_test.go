package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/client"
)

// Every line has a result line, in order where that is asked for, and a pipe of
// two jobs is a chain.
func TestJob(t *testing.T) {
	c := newCell(t)
	c.serve(t, "bench")
	var lines, want strings.Builder
	for i := range 500 {
		fmt.Fprintf(&lines, "%d\n\n", i)
		fmt.Fprintf(&want, "%d\n", i)
	}
	got := c.limpet(t, lines.String(), "job", "lab", "add", "--ordered")
	if got.out != want.String() || got.code != 0 || got.err != "" {
		t.Errorf("500 lines: %+v", got)
	}
	if got = c.limpet(t, got.out, "job", "lab", "echo"); strings.Count(got.out, "\n") != 500 || got.code != 0 {
		t.Errorf("and a second job: %+v", got)
	}
	file := filepath.Join(t.TempDir(), "lines")
	if err := os.WriteFile(file, []byte(`{"n": 1}`+"\n"+`"two"`), 0o600); err != nil {
		t.Fatal(err)
	}
	got = c.limpet(t, "", "job", "lab", "echo", "--file", file, "--ordered", "--json")
	if want := `{"index":0,"result":{"n":1}}` + "\n" + `{"index":1,"result":"two"}` + "\n"; got.out != want || got.code != 0 {
		t.Errorf("a file: %+v, want %s", got, want)
	}
	if got = c.limpet(t, "", "job", "lab", "echo"); got.out != "" || got.code != 0 {
		t.Errorf("no lines: %+v", got)
	}
	c.await(t, "no session is left", func(st *core.Status) bool { return len(st.Sessions) == 0 })
}

// Errors are never taken for results: they go to stderr, or are named as what
// they are.
func TestJobFails(t *testing.T) {
	c := newCell(t)
	c.serve(t, "bench")
	got := c.limpet(t, "1\n\"x\"\n3\n", "job", "lab", "add", "--ordered")
	if got.out != "1\n3\n" || got.code != exitRefused {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(got.err, "item 1: do add") || !strings.Contains(got.err, "1 of 3 items failed") {
		t.Errorf("stderr says %q", got.err)
	}
	got = c.limpet(t, "1\n2\n", "job", "lab", "fail", "--ordered", "--json")
	var line jobLine
	if err := json.Unmarshal([]byte(strings.SplitN(got.out, "\n", 2)[0]), &line); err != nil || strings.Count(got.out, "\n") != 2 {
		t.Fatalf("%+v: %v", got, err)
	}
	if line.Index != 0 || line.Code != client.ErrMethod || line.Outcome != "done" || line.Result != nil ||
		!strings.Contains(line.Error, "two\nlines") || got.code != exitMethod {
		t.Errorf("%+v, exit code %d", line, got.code)
	}
	got = c.limpet(t, "1\nnonsense\n3\n", "job", "lab", "add")
	if got.out != "1\n" || got.code != exitUsage || !strings.Contains(got.err, "line 2: not JSON") {
		t.Errorf("a bad line: %+v", got)
	}
	if got = c.limpet(t, "1\n", "job", "nope", "add"); got.code != exitRefused || !strings.Contains(got.err, "'limpet status' lists the pools") {
		t.Errorf("an unknown pool: %+v", got)
	}
	if got = c.limpet(t, "1\n", "job", "lab", "add", "--file", "/nowhere"); got.code != exitUsage {
		t.Errorf("no such file: %+v", got)
	}
	got = c.limpet(t, "1\n", "job", "lab", "wait", "--timeout", "50ms", "--json")
	if got.code != exitTimeout || !strings.Contains(got.out, `"code":64,"outcome":"`) {
		t.Errorf("a line that takes too long: %+v", got)
	}
}

// The bar says how far the job is, on one line that it takes away.
func TestJobBar(t *testing.T) {
	var to bytes.Buffer
	b := newJobBar(&to, 200, true)
	b.step(client.JobCounts{Made: 120, Done: 97, Failed: 2, Unknown: 1, Retried: 7})
	b.clear(false)
	b.end()
	for _, part := range []string{"50%", "2 failed, 1 unknown, 7 tried again", "100/200"} {
		if !strings.Contains(to.String(), part) {
			t.Errorf("%q does not say %q", to.String(), part)
		}
	}
	if strings.Contains(to.String(), "\n") {
		t.Errorf("%q is more than a line", to.String())
	}
	var none *jobBar
	none.step(client.JobCounts{})
	none.clear(true)
	none.end()
}

// A job that cannot write ends, whoever still holds its stdin open.
func TestJobThatCannotWriteEnds(t *testing.T) {
	c := newCell(t)
	c.serve(t, "bench")
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no device that is full here: ", err)
	}
	defer full.Close()
	ctx, cancel := context.WithTimeout(t.Context(), long) // after that it is killed
	defer cancel()
	cmd := as(ctx, "limpet", "job", "lab", "add")
	cmd.Env = append(cmd.Env, "LIMPET_BROKER="+c.broker)
	var says strings.Builder
	cmd.Stdout, cmd.Stderr = full, &says
	stdin, err := cmd.StdinPipe() // open until it has ended
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(stdin, "1\n"); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() <= 0 || !strings.Contains(says.String(), "no space left") {
		t.Errorf("%v: %s", err, says.String())
	}
}
