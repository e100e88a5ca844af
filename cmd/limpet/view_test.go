package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/limpet-rpc/limpet/broker/admin"
	"github.com/limpet-rpc/limpet/broker/core"
)

func shown(st *core.Status, all bool) string {
	var b bytes.Buffer
	(&view{all: all}).write(&b, &admin.Page{Status: *st})
	return b.String()
}

func TestAlerts(t *testing.T) {
	fine := core.Status{
		Name: "rock", Pools: []core.PoolStatus{{Pool: "tcl", Nodes: 1, Slots: 4, Free: 4, Room: 8}},
		Nodes: []core.NodeStatus{{Name: "shell", State: "alive"}, {Name: "leaving", State: "draining"}},
		Lost:  []core.LostStatus{{Name: "left", Ago: 5}, {Name: "long ago", Ago: 3600, Sessions: 4}},
	}
	if text := shown(&fine, false); strings.Contains(text, "ALERT") || !strings.HasPrefix(text, "broker   rock") {
		t.Errorf("nothing is wrong:\n%s", text)
	}
	for want, st := range map[string]core.Status{
		"recovering": {Recovering: true},
		"node w (h, process 7) is late: silent for 1.5s, 3 sessions": {Nodes: []core.NodeStatus{{
			Name: "w", Host: "h", PID: 7, State: "late", Silent: 1.5, Open: 3,
		}}},
		"with 1 session: no beat": {Lost: []core.LostStatus{{Ago: 1, Sessions: 1, Why: "no beat"}}},
		"is suspect":              {Nodes: []core.NodeStatus{{State: "suspect"}}},
		"is cut off":              {Nodes: []core.NodeStatus{{State: "cut off"}}},
		"was lost 1m30s ago, with 2 sessions: no beat": {Lost: []core.LostStatus{{Ago: 90, Sessions: 2, Why: "no beat"}}},
		"node w (h, process 7) has 2 slots in quarantine, held by calls that hang: limpet inspect w": {Nodes: []core.NodeStatus{{
			Name: "w", Host: "h", PID: 7, State: "alive", Quarantined: 2,
		}}},
		"pool a: the queue is full, 7 of 8 places": {Pools: []core.PoolStatus{{Pool: "a", Nodes: 1, Waiting: 7, Room: 8}}},
		"pool a: 2 wait, and no node serves it":    {Pools: []core.PoolStatus{{Pool: "a", Waiting: 2, Room: 8}}},
	} {
		first, _, _ := strings.Cut(shown(&st, false), "\n")
		if !strings.HasPrefix(first, "ALERT    ") || !strings.Contains(first, want) {
			t.Errorf("first line %q, want %q", first, want)
		}
	}
}

// TestViewIsBounded is more sessions than fit a screen.
func TestViewIsBounded(t *testing.T) {
	st := core.Status{Pools: []core.PoolStatus{{Pool: "a", Open: 12_345}}}
	for i := range 30 {
		st.Sessions = append(st.Sessions, core.SessionStatus{Pool: "a", Worker: i})
		st.Queue = append(st.Queue, core.WaitingStatus{Pool: "a", Place: i + 1, Client: fmt.Sprintf("client%d", i)})
		st.Casts = append(st.Casts, core.CastStatus{Pool: "a"})
	}
	text := shown(&st, false)
	for _, want := range []string{
		"and 12325 more sessions; --all shows them", "and 10 more that wait; --all shows them", "and 10 more broadcasts; --all shows them",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
	text = shown(&st, true)
	if !strings.Contains(text, "client29") || !strings.Contains(text, "and 12315 more sessions\n") {
		t.Errorf("all:\n%s", text)
	}
}

// TestSizesAreShown is a pool that has grown, and one that never has.
func TestSizesAreShown(t *testing.T) {
	text := shown(&core.Status{
		Pools: []core.PoolStatus{{Pool: "a", Policy: "equal"}},
		Nodes: []core.NodeStatus{{Name: "n", Values: map[string]string{"a": "x"}, Sizes: []core.SizeStatus{
			{Pool: "a", Slots: 4, Least: 1, Most: 9, Was: 2, Why: "7 wait, the longest for 1s", Ago: 90}, {Pool: "b", Slots: 1, Least: 1, Most: 2},
		}}},
	}, false)
	for _, want := range []string{
		"equal", "a=x", "a      n     4      1      9     2    1m30s  7 wait, the longest for 1s",
		"b      n     1      1      2     -    -",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
}

// TestBroadcastsAreShown is one that waits for many nodes, and one that waits
// for its client only.
func TestBroadcastsAreShown(t *testing.T) {
	text := shown(&core.Status{Casts: []core.CastStatus{
		{Client: "c 1", Pool: "a", Method: "m", Members: 9, Answered: 3, Other: 1, Age: 90, WaitsFor: []string{"n1", "n2", "n3", "n4", "n5"}},
		{Client: "c 2", Pool: "b", Method: "k", Sessions: true, Members: 2, Answered: 2},
	}}, false)
	for _, want := range []string{
		"m          a     c 1     1m30s  3         1          9 nodes     n1,n2,n3,n4,...",
		"k          b     c 2     0s     2         0          2 sessions  its client",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q:\n%s", want, text)
		}
	}
}

// TestViewIsPlain is a node whose name is an escape sequence.
func TestViewIsPlain(t *testing.T) {
	st := core.Status{Nodes: []core.NodeStatus{{Name: "\x1b]0;owned\a\x1b[2J\nALERT no", State: "late", Labels: map[string]string{"k": "\u009b2J"}}}}
	text := shown(&st, false)
	if strings.ContainsAny(text, "\x1b\a\u009b") || strings.Contains(text, "\nALERT no") {
		t.Errorf("%q", text)
	}
}

func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"a":                          "a",
		"a\nb\r\n\n c":               "a; b; c",
		"no x\n\nDid you mean?\n\ty": "no x; Did you mean? y",
	} {
		if got := oneLine(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

func TestCellIsShown(t *testing.T) {
	var b strings.Builder
	(&view{}).write(&b, &admin.Page{Cell: &admin.Cell{
		Dir: "/run/limpet/cell", Role: "master", Epoch: 7, Limit: 0.5, Votes: 1, Voters: 2,
		Candidates: []admin.Candidate{{ID: "aa", PID: 11, Program: "limpet", Master: true}, {ID: "bb", PID: 12, Program: "limpet\x1b[2J"}},
		Elections:  []admin.Election{{Ago: 61, From: "taking", To: "master", About: "aa of epoch 7", Why: "its process has ended"}},
	}})
	for _, want := range []string{
		"cell     /run/limpet/cell, master of epoch 7, limit 500ms, 2 candidates, accused by 1 of 2",
		"aa         11       limpet      master", "bb         12       limpet?[2J  standing by", "its process has ended",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}
