package main

import (
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/limpet-rpc/limpet/broker/core"
)

// TestEnds is every way in which a command ends: its exit code, and one line
// on stderr that names the thing.
func TestEnds(t *testing.T) {
	c := newCell(t)
	c.serve(t, "bench")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	const nobody = "127.0.0.1:1"
	for _, test := range []struct {
		args string
		code int
		err  []string // each is part of stderr; none: stderr is empty
	}{
		{"call lab add 5", exitOK, nil},
		{"call lab add -5", exitOK, nil},
		{"--help", exitOK, nil},
		{"call", exitUsage, []string{"POOL and METHOD are missing"}},
		{"call lab", exitUsage, []string{"METHOD is missing", "'limpet call --help'"}},
		{"call lab add 1 2", exitUsage, []string{`too many arguments from "2"`}},
		{"call lab add {", exitUsage, []string{"argument: not JSON", "cut short"}},
		{"call lab add x", exitUsage, []string{`not JSON: "x"`}},
		{"call lab add 123456789012345678901", exitUsage, []string{"integer 123456789012345678901 does not fit 64 bits"}},
		{"call lab add 1 --wait soon", exitUsage, []string{"--wait", "want a duration"}},
		{"call lab add 1 --priority 9", exitUsage, []string{"--priority", "from -8 to 8"}},
		{"call lab add 1 --broker nowhere", exitUsage, []string{`broker "nowhere"`, "want tcp://host:port"}},
		{"frob", exitUsage, []string{`unknown command "frob"`, "'limpet --help'"}},
		{"statu", exitUsage, []string{"Did you mean this? status"}},
		{"status --frob", exitUsage, []string{"unknown flag: --frob", "'limpet status --help'"}},
		{"broker --listen tcp://127.0.0.1:99999", exitUsage, []string{`port "99999"`}},
		{"broker --listen inproc://x", exitUsage, []string{`transport "inproc"`}},
		{"broker --policy best", exitUsage, []string{"--policy", "least-loaded, round-robin, pack, spread"}},
		{"broker --beat 0s", exitUsage, []string{"--beat", "at least 10ms"}},
		{"broker --listen " + c.broker + " --admin off", exitOther, []string{c.broker, "the port is in use"}},
		{"broker --listen tcp://" + taken.Addr().String() + " --admin off", exitOther, []string{"the port is in use"}},
		{"broker --listen tcp://127.0.0.1:0 --admin " + c.admin, exitOther, []string{"admin pages: listen on " + c.admin, "in use", "LIMPET_ADMIN"}},
		{"call lab add 1 --broker tcp://" + nobody, exitUnreachable, []string{"no broker answers at tcp://" + nobody, "limpet broker", "LIMPET_BROKER"}},
		{"status --admin " + nobody, exitUnreachable, []string{"no admin page answers at " + nobody, "connection refused", "LIMPET_ADMIN"}},
		{"call nope add 1", exitRefused, []string{`no node serves a pool "nope"`, "'limpet status' lists the pools"}},
		{"call lab nope", exitRefused, []string{`pool "lab" has no method "nope"`, "not run"}},
		{`call lab add "five"`, exitRefused, []string{`method "add" takes int`, "not run"}},
		{"call lab add 1 --label gpu=yes", exitRefused, []string{"labels"}},
		{"session nope", exitRefused, []string{`no node serves a pool "nope"`}},
		{"call lab fail", exitMethod, []string{"call fail: method failed: two; lines"}},
		{"call lab panic", exitMethod, []string{"call panic: worker panicked", "at the method"}},
		{"call lab wait --timeout 50ms", exitTimeout, []string{"call wait: deadline passed"}},
	} {
		t.Run(test.args, func(t *testing.T) {
			got := c.limpet(t, "", strings.Fields(test.args)...)
			if got.code != test.code {
				t.Errorf("exit code %d, want %d", got.code, test.code)
			}
			checkLine(t, got.err, test.err)
		})
	}
	var none *cell
	if got := none.limpet(t, "", "call", "lab", "add", "--broker", "tcp://"+nobody+","+c.broker); got.code != exitOK {
		t.Errorf("the second of two brokers: %+v", got)
	}
}

// checkLine wants one line that begins with limpet: and has all the parts.
func checkLine(t *testing.T, stderr string, parts []string) {
	t.Helper()
	if parts == nil {
		if stderr != "" {
			t.Errorf("stderr: %q", stderr)
		}
		return
	}
	if !strings.HasPrefix(stderr, "limpet: ") || strings.Count(stderr, "\n") != 1 || !strings.HasSuffix(stderr, "\n") {
		t.Errorf("stderr is not one line of limpet: %q", stderr)
	}
	for _, part := range parts {
		if !strings.Contains(stderr, part) {
			t.Errorf("stderr lacks %q: %q", part, stderr)
		}
	}
}

// TestNoWorkerInTime is a call to a pool whose slots are all taken.
func TestNoWorkerInTime(t *testing.T) {
	c := newCell(t)
	c.serve(t, "bench")
	for range 2 {
		c.hold(t)
	}
	got := c.limpet(t, "", "call", "lab", "add", "1", "--wait", "50ms")
	if got.code != exitTimeout {
		t.Errorf("exit code %d, want %d", got.code, exitTimeout)
	}
	checkLine(t, got.err, []string{`no slot of pool "lab" came free`, "'limpet status' shows who holds the slots"})
}

// hold keeps a session open until the test ends or its stdin is closed.
func (c *cell) hold(t *testing.T) (stdin *os.File) {
	t.Helper()
	cmd := as(t.Context(), "limpet", "session", "lab")
	cmd.Env = append(cmd.Env, "LIMPET_BROKER="+c.broker)
	in, stdin, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin = in
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = in.Close() // the child has it
	t.Cleanup(func() {
		_ = stdin.Close() // the test may have done so
		_ = cmd.Wait()    // it may have ended in an error that the test is about
	})
	fmt.Fprintln(stdin, "add 1")
	if _, err := out.Read(make([]byte, 16)); err != nil { // its first reply
		t.Fatal(err)
	}
	return stdin
}

// TestWorkerLost is a worker process that dies under a call, and one that is
// killed between the calls of a session; status says so.
func TestWorkerLost(t *testing.T) {
	c := newCell(t)
	c.serve(t, "first")
	got := c.limpet(t, "", "call", "lab", "exit")
	if got.code != exitLost {
		t.Errorf("exit code %d, want %d", got.code, exitLost)
	}
	checkLine(t, got.err, []string{"call exit: worker lost: first", "unknown outcome"})
	c.await(t, "the node is listed as lost", func(st *core.Status) bool { return len(st.Lost) == 1 && st.Lost[0].Sessions == 1 })
	shown := c.limpet(t, "", "status")
	if !strings.HasPrefix(shown.out, "ALERT    node first (") || !strings.Contains(shown.out, "LOST NODE") {
		t.Errorf("status:\n%s", shown.out)
	}
}

// TestExitCodesHelp is the table that scripts' writers read.
func TestExitCodesHelp(t *testing.T) {
	var none *cell
	got := none.limpet(t, "", "help", "exit-codes")
	for _, e := range exits {
		if !strings.Contains(got.out, fmt.Sprintf("%3d  %s\n", e.code, e.meaning)) {
			t.Errorf("no line for %d in\n%s", e.code, got.out)
		}
	}
	for code, exit := range exitOf {
		if exit == exitOK || exit == exitOther || exit == exitUsage {
			t.Errorf("%s ends as %d", code, exit)
		}
	}
}
