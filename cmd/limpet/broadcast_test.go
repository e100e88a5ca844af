package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
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
