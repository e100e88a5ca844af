package main

import (
	"context"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestBrokerEndsCleanly is a signal to a broker with an open session.
func TestBrokerEndsCleanly(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		cmd := as(context.Background(), "limpet", "broker", "--listen", "tcp://127.0.0.1:0", "--admin", "127.0.0.1:0")
		log, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		first := make([]byte, 4096)
		for seen := ""; !strings.Contains(seen, "broker listens"); {
			n, err := log.Read(first)
			if err != nil {
				t.Fatalf("%s: %v", seen, err)
			}
			seen += string(first[:n])
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		waitFor(t, cmd)
		if code := cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("%s: exit code %d", sig, code)
		}
	}
}

func waitFor(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// TestEveryFlagHasAVariable is the one mechanism: the help names the variable
// of every flag of every command, and a value that cannot be is refused by its
// name.
func TestEveryFlagHasAVariable(t *testing.T) {
	var none *cell
	for _, cmd := range []string{"broker", "status", "call", "session"} {
		help := none.limpet(t, "", cmd, "--help").out
		if !strings.Contains(help, "Examples:\n  ") {
			t.Errorf("%s has no example", cmd)
		}
		for line := range strings.SplitSeq(help, "\n") {
			name, isFlag := strings.CutPrefix(strings.TrimSpace(line), "--")
			if !isFlag {
				continue
			}
			name, _, _ = strings.Cut(name, " ")
			if !strings.Contains(line, "["+variable(name)+"]") {
				t.Errorf("%s: no variable in %q", cmd, line)
			}
		}
	}
	for _, test := range []struct{ cmd, variable, value, want string }{
		{"broker", "LIMPET_BEAT", "often", "want a duration"},
		{"broker", "LIMPET_LOG_LEVEL", "loud", "want one of info"},
		{"broker", "LIMPET_QUEUE", "0", "want a number from 1"},
		{"broker", "LIMPET_LISTEN", "nowhere", "want tcp://"},
		{"status", "LIMPET_JSON", "perhaps", "invalid syntax"},
		{"call lab add", "LIMPET_WAIT", "1", "want a duration"},
		{"call lab add", "LIMPET_LABEL", "novalue", "must be formatted as key=value"},
	} {
		got := none.limpetIn(t, []string{test.variable + "=" + test.value}, "", strings.Fields(test.cmd)...)
		if got.code != exitUsage {
			t.Errorf("%s=%s: exit code %d", test.variable, test.value, got.code)
		}
		want := []string{test.want}
		if test.variable != "LIMPET_LISTEN" { // an endpoint is named itself
			want = append(want, "environment variable "+test.variable+`="`+test.value+`"`)
		}
		checkLine(t, got.err, want)
	}
}

// TestPrecedence is flag before variable before default.
func TestPrecedence(t *testing.T) {
	c := newCell(t)
	for _, test := range []struct {
		env  string
		args []string
		want int
	}{
		{"LIMPET_ADMIN=127.0.0.1:1", []string{"status", "--admin", c.admin}, exitOK},
		{"LIMPET_ADMIN=" + c.admin, []string{"status"}, exitOK},
		{"LIMPET_ADMIN=" + c.admin, []string{"status", "--admin", "127.0.0.1:1"}, exitUnreachable},
	} {
		var none *cell
		if got := none.limpetIn(t, []string{test.env}, "", test.args...); got.code != test.want {
			t.Errorf("%s %v: %+v, want exit code %d", test.env, test.args, got, test.want)
		}
	}
	var none *cell
	if got := none.limpetIn(t, []string{"LIMPET_JSON=true", "LIMPET_WATCH="}, "", "status", "--admin", c.admin); !strings.HasPrefix(got.out, "{") {
		t.Errorf("LIMPET_JSON: %+v", got)
	}
}

func TestVersion(t *testing.T) {
	var none *cell
	got := none.limpet(t, "", "version")
	for _, want := range []string{"limpet    ", "\nprotocol  1\n", "\nzmtp      3.1\n"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("version lacks %q: %+v", want, got)
		}
	}
}
