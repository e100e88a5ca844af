package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPeers runs every peer small, from the flags to the page.
func TestPeers(t *testing.T) {
	dir := t.TempDir()
	file, page := filepath.Join(dir, "results.json"), filepath.Join(dir, "page.md")
	var out, errs bytes.Buffer
	args := []string{"peers", "--repeats", "1", "--callers", "1,5", "--warmup", "10ms", "--window", "100ms", "--json", file, "--page", page}
	if code := benchMain(t.Context(), args, &out, &errs); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var s Standing
	if err := json.Unmarshal(b, &s); err != nil { //nolint:musttag // its fields go by their names, as written
		t.Fatalf("results: %v, %.80q", err, b)
	}
	if runs := len(s.Loads[0].Runs) + len(s.Loads[1].Runs); runs != 3*(len(standingPeers)-len(s.Absent)) {
		t.Errorf("%d runs of %d peers, %q absent", runs, len(standingPeers), s.Absent)
	}
	for _, c := range s.Loads {
		for _, r := range c.Runs {
			if r.Calls == 0 || r.P50 == 0 || len(r.CPU) != len(r.Processes) || len(r.Resident) != len(r.Processes) {
				t.Errorf("%+v", r)
			}
		}
	}
	text, err := os.ReadFile(page)
	if err != nil || !strings.Contains(string(text), "(page.svg)") || !strings.Contains(string(text), "libzmq") {
		t.Errorf("page: %v\n%s", err, text)
	}
	svg, err := os.Open(filepath.Join(dir, "page.svg"))
	if err != nil {
		t.Fatal(err)
	}
	defer svg.Close()
	for d := xml.NewDecoder(svg); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("chart: %v", err)
		}
	}
}

// TestStandingPeersExist holds the table and the floors to the peers: what floors
// name may be missing, what the table names may not.
func TestStandingPeersExist(t *testing.T) {
	for _, name := range standingPeers {
		if _, ok := peerNamed(name); !ok {
			t.Errorf("no peer %q", name)
		}
	}
	for _, f := range floors {
		if figureOf[f.figure] == nil || f.holds(f.aim) == false {
			t.Errorf("%v: its figure is none, or its aim does not hold", f)
		}
	}
}

func TestMissingPeerIsLeftOut(t *testing.T) {
	t.Setenv("CC", "no-such-compiler")
	present, absent, err := presentPeers(t.Context(), []string{"nats", "c-direct"})
	if err != nil || len(present) != 1 || len(absent) != 1 || !strings.Contains(absent[0], "there is no C compiler") {
		t.Errorf("present %q, absent %q, %v", present, absent, err)
	}
	if _, _, err := presentPeers(t.Context(), []string{"c-direct"}); err == nil {
		t.Error("nothing is left and nobody says so")
	}
}

func TestVerdicts(t *testing.T) {
	run := func(peer string, repetition int, calls int64, p50 time.Duration) Run {
		return Run{Peer: peer, Callers: 64, Repetition: repetition, Load: Load{Calls: calls, Elapsed: time.Second, P50: p50}}
	}
	s := &Standing{Loads: []*Comparison{{
		Peers: []string{"a", "b"}, Callers: []int{64}, Size: smallBody,
		Runs: []Run{run("a", 0, 100, 10), run("b", 0, 90, 20), run("b", 1, 200, 30), run("a", 1, 100, 10), run("a", 2, 100, 10), run("b", 2, 300, 40)},
	}}}
	for _, test := range []struct {
		f            floor
		word, remark string
	}{
		{floor{subject: "b", base: "a", callers: 64, size: smallBody, figure: figureRate, bound: 0.5}, "holds", ""},
		{floor{subject: "b", base: "a", callers: 64, size: smallBody, figure: figureRate, bound: 1}, "holds", "the spread crosses the bound"},
		{floor{subject: "b", base: "a", callers: 64, size: smallBody, figure: figureRate, bound: 4}, "MISSED", ""},
		{floor{subject: "b", base: "a", callers: 64, size: smallBody, figure: figureP50, bound: 2.5}, "MISSED", "the spread crosses the bound"},
		{floor{subject: "b", base: "a", callers: 64, size: smallBody, figure: figureP50, bound: 4}, "holds", ""},
		{floor{subject: "b", base: "a", callers: 64, size: largeBody, figure: figureRate, bound: 1}, "no figure", "this load was not measured"},
		{floor{subject: "b", base: "a", callers: 1, size: smallBody, figure: figureRate, bound: 1}, "no figure", "this load was not measured"},
		{floor{subject: "c", base: "a", callers: 64, size: smallBody, figure: figureRate, bound: 1}, "no figure", "c was not measured"},
	} {
		if v := s.verdict(test.f); v.Word != test.word || v.Remark != test.remark {
			t.Errorf("%v: %+v", test.f, v)
		}
	}
}

func TestParseCLoad(t *testing.T) {
	load, err := parseCLoad("end 3 1000000000 5:1 200:2\n")
	if err != nil || load.Calls != 3 || load.Elapsed != time.Second || load.P50 != bucketTop(200) {
		t.Errorf("%+v, %v", load, err)
	}
	for _, bad := range []string{"", "begin\n", "end 3 1\n", "end 3 1 5:1\n", "end x 1 5:1\n", "end 1 1 99999:1\n", "end 1 1 -1:1\n", "end 1 1 5\n"} {
		if _, err := parseCLoad(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
