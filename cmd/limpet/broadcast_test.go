package main

import (
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/limpet-rpc/limpet/broker/core"
)

// spent is the time that a line begins with.
var spent = regexp.MustCompile(`(?m)^ *\d+\.\d+s  `)

func TestBroadcast(t *testing.T) {
	c := newCell(t)
	c.serve(t, "lab1")
	c.serve(t, "lab2")
	for _, test := range []struct {
		args []string
		code int
		want []string // lines, in any order but for the last
		err  string
	}{
		{[]string{"lab", "who"}, exitOK, []string{`lab1  answered  "lab1"`, `lab2  answered  "lab2"`, "2 members, 2 answered"}, ""},
		{
			[]string{"lab", "only", `"lab2"`},
			exitMethod,
			[]string{"lab1  failed  method failed: not me", `lab2  answered  "lab2"`, "2 members, 1 answered, 1 failed"},
			"1 of 2 members did not answer",
		},
		{[]string{"lab", "add", "1", "--sessions"}, exitRefused, []string{"0 members"}, "nobody was asked"},
		{[]string{"none", "who"}, exitRefused, []string{"0 members"}, `pool "none" has no members`},
		{[]string{"lab", "who", "{"}, exitUsage, nil, "not JSON"},
		{[]string{"lab", "who", "--sessions", "--busy", "soon"}, exitUsage, nil, "want wait, skip, or a duration"},
	} {
		got := c.limpet(t, "", append([]string{"broadcast"}, test.args...)...)
		lines := strings.Split(strings.TrimSpace(spent.ReplaceAllString(got.out, "")), "\n")
		for i := range lines {
			lines[i] = regexp.MustCompile(` {2,}`).ReplaceAllString(lines[i], "  ")
		}
		if got.out == "" {
			lines = nil
		} else {
			slices.Sort(lines[:len(lines)-1])
		}
		if got.code != test.code || !slices.Equal(lines, test.want) || !strings.Contains(got.err, test.err) {
			t.Errorf("%v ends with %d: %q, %q; want %d, %q, %q", test.args, got.code, lines, got.err, test.code, test.want, test.err)
		}
	}
}

// TestStatusShowsBroadcasts is one that waits for one of two nodes, while it
// does and when it is over.
func TestStatusShowsBroadcasts(t *testing.T) {
	c := newCell(t)
	c.serve(t, "lab1")
	c.serve(t, "lab2")
	cmd := as(t.Context(), "limpet", "broadcast", "lab", "wait", `"lab2"`, "--broker", c.broker)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c.await(t, "one of two has answered", func(st *core.Status) bool { return len(st.Casts) == 1 && st.Casts[0].Answered == 1 })
	text := c.limpet(t, "", "status").out
	want := regexp.MustCompile(`(?m)^BROADCAST +POOL +CLIENT .*\nwait +lab +limpet broadcast [0-9a-f]{8} +\S+ +1 +0 +2 nodes +lab2$`)
	if !want.MatchString(text) {
		t.Errorf("status shows:\n%s", text)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // it was interrupted
	c.await(t, "it is over", func(st *core.Status) bool { return len(st.Casts) == 0 && st.Broadcasts == 0 })
	if text := c.limpet(t, "", "status").out; strings.Contains(text, "BROADCAST") {
		t.Errorf("status afterwards:\n%s", text)
	}
}

// TestBroadcastOnTerminal is the table as it grows: a line for each that is
// settled, and below it how many are, which the next line takes away.
func TestBroadcastOnTerminal(t *testing.T) {
	c := newCell(t)
	c.serve(t, "lab1")
	slow := c.serve(t, "lab2")
	p := c.onTerminal(t, "broadcast", "lab", "wait", `"lab2"`)
	p.expect(`lab1                  answered  "lab2"`)
	p.expect("1 of 2 settled")
	if err := slow.Kill(); err != nil {
		t.Fatal(err)
	}
	p.expect("\r\x1b[K")
	p.expect("lab2                  died")
	p.expect("2 of 2 settled\r\x1b[K2 members, 1 answered, 1 died")
	if code := p.ended(); code != exitLost {
		t.Errorf("exit code %d, want %d", code, exitLost)
	}
}
