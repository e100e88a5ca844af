package main

import (
	"strings"
	"testing"

	"github.com/limpet-rpc/limpet/broker/core"
)

// A call that hangs is shown with the function that it hangs in, by its node's
// name and by its session.
func TestInspect(t *testing.T) {
	c := newCell(t)
	c.serve(t, "cave")
	if got := c.limpet(t, "", "inspect", "cave"); got.code != exitOK || !strings.Contains(got.out, "no call that this broker knows of") {
		t.Errorf("before: %+v", got)
	}
	if got := c.limpet(t, "", "call", "lab", "hang", "1"); got.code != exitLost || !strings.Contains(got.err, "worker hung") {
		t.Errorf("the call: %+v", got)
	}
	c.await(t, "the autopsy", func(*core.Status) bool {
		out := c.limpet(t, "", "inspect", "cave").out
		return strings.Contains(out, "HUNG") && strings.Contains(out, "limpet.serveLab") // its stack may come later
	})
	got := c.limpet(t, "", "inspect", "cave")
	for _, want := range []string{"method hang", "its budget was 480ms", "limpet.serveLab", "worker 0 of node cave"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("it does not show %q:\n%s", want, got.out)
		}
	}
	_, id, _ := strings.Cut(got.out, "session   ")
	id, _, _ = strings.Cut(id, "\n")
	if by := c.limpet(t, "", "inspect", id, "--json"); by.code != exitOK || !strings.Contains(by.out, `"method":"hang"`) {
		t.Errorf("by session %q: %+v", id, by)
	}
	for _, who := range []string{"nobody", "00000000-0000-4000-8000-000000000000"} {
		if got := c.limpet(t, "", "inspect", who); got.code != exitRefused || !strings.Contains(got.err, "no call of it has hung") {
			t.Errorf("inspect %s: %+v", who, got)
		}
	}
}

// The trace of a call that hangs is shown where it came in one.
func TestInspectShowsTheTrace(t *testing.T) {
	for _, id := range []string{"", "0af7651916cd43dd8448eb211c80319c"} {
		var b strings.Builder
		writeAutopsy(&b, &core.AutopsyStatus{Method: "hang", Trace: id})
		if shown := strings.Contains(b.String(), "trace     "+id); shown != (id != "") {
			t.Errorf("trace %q:\n%s", id, b.String())
		}
	}
}
