package main

import (
	"strings"
	"testing"
)

// A drained node is waited for until it is gone, its process ends by itself
// with exit code 0, and the pool lives on where another node serves it.
func TestDrain(t *testing.T) {
	c := newCell(t)
	old := c.serve(t, "old")
	c.serve(t, "new")
	const none = "limpet: drain node \"nobody\": broker: no such node; 'limpet status' lists the nodes\n"
	if got := c.limpet(t, "", "drain", "nobody"); got.code != exitRefused || got.err != none {
		t.Errorf("a node that does not exist: %+v", got)
	}
	got := c.limpet(t, "", "drain", "old", "--deadline", "5s")
	if got.code != exitOK || !strings.Contains(got.out, "is gone") {
		t.Fatalf("%+v", got)
	}
	if state, err := old.Wait(); err != nil || state.ExitCode() != 0 {
		t.Errorf("the drained process ended with %v, %v", state, err)
	}
	if got := c.limpet(t, "", "call", "lab", "add", "5"); got.code != exitOK {
		t.Errorf("the other node: %+v", got)
	}
}
