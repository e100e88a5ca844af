package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test binary be a role process, as limpet-bench itself is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == roleWord {
		os.Exit(roleMain(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// TestSubcommands runs each subcommand small, from its flags to its JSON.
func TestSubcommands(t *testing.T) {
	for _, args := range [][]string{
		{"first", "--quick", "--repeats", "1", "--callers", "1,5", "--window", "300ms", "--warmup", "10ms"},
		{"memory", "-n", "50", "--idle", "10ms"},
		{"many", "-n", "1000", "--windows", "1", "--window", "100ms"},
		{"handover", "--quick", "--repeats", "2", "--work", "300ms"},
		{"failover", "--quick", "--repeats", "1", "--candidates", "3"},
		{"lost", "--quick", "--repeats", "2", "--calls", "3"},
		{"cast", "--repeats", "2", "--members", "40", "--few", "20"},
		{"primes", "--quick", "--to", "4999", "--shorts", "5"},
		{"primes-every", "--to", "4999", "--check"},
	} {
		t.Run(args[0], func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "results.json")
			var out, errs bytes.Buffer
			if code := benchMain(t.Context(), append(args, "--json", file), &out, &errs); code != exitOK {
				t.Fatalf("exit code %d: %s", code, errs.String())
			}
			b, err := os.ReadFile(file)
			if err != nil || !json.Valid(b) {
				t.Errorf("results: %v, %.80q", err, b)
			}
			if !strings.Contains(out.String(), "libzmq") {
				t.Errorf("the table does not state the machine:\n%s", out.String())
			}
		})
	}
}

func TestUsageErrors(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"nonsense"},
		{"first", "--callers", "0"},
		{"first", "--peers", "nobody"},
		{"first", "--size", "3"},
		{"first", "extra"},
		{"peers", "--peers", "nobody"},
		{"peers", "--callers", "x"},
		{"memory", "-n", "0"},
		{"handover", "--work", "1ms"},
		{"lost", "--misses", "0"},
		{"lost", "--repeats", "0"},
		{"primes", "--to", "2"},
		{"primes-soak", "--requests", "1"},
		{"primes-every", "--to", "2"},
	} {
		var errs bytes.Buffer
		if code := benchMain(t.Context(), args, io.Discard, &errs); code != exitUsage || errs.Len() == 0 {
			t.Errorf("%q: exit code %d, said %q", args, code, errs.String())
		}
	}
}

func TestQuickKeepsWhatTheUserSet(t *testing.T) {
	o := newOptions("x", 5, io.Discard)
	window := o.set.Duration("window", time.Hour, "")
	if err := o.parse([]string{"--quick", "--repeats", "9"}, map[string]string{"repeats": "2", "window": "1s"}); err != nil {
		t.Fatal(err)
	}
	if o.repeats != 9 || *window != time.Second {
		t.Errorf("repeats %d, window %v; want 9 and 1s", o.repeats, *window)
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct{ held, check, missed bool }{
		{true, true, false}, {true, false, false}, {false, false, false}, {false, true, true},
	} {
		o := &options{check: c.check}
		if err := o.verdict(io.Discard, c.held, "it"); errors.Is(err, errMissed) != c.missed {
			t.Errorf("held %v, check %v: %v", c.held, c.check, err)
		}
	}
}

// TestChildEnds shows that a child is gone after Stop, whether it was asked to
// end or killed.
func TestChildEnds(t *testing.T) {
	for _, kill := range []bool{false, true} {
		c, err := Start(t.Context(), "naive/broker", Setup{}, false)
		if err != nil {
			t.Fatal(err)
		}
		if kill {
			if err := c.Kill(); err != nil {
				t.Error(err)
			}
		}
		c.Stop()
		if err := syscall.Kill(c.Pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("killed %v: process %d is still there: %v", kill, c.Pid, err)
		}
	}
}

func TestFailedRoleSaysWhy(t *testing.T) {
	_, err := Start(t.Context(), "load", Setup{Peer: "nobody"}, false)
	if err == nil || !strings.Contains(err.Error(), `no peer "nobody"`) {
		t.Errorf("error %v does not say what the role wrote", err)
	}
	if _, err := Start(t.Context(), "no such role", Setup{}, false); err == nil {
		t.Error("a role that does not exist was started")
	}
}

func TestAskFails(t *testing.T) {
	c, err := Start(t.Context(), "naive/broker", Setup{}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	if err := c.Ask(t.Context(), "nonsense", nil, nil, readyWait); err == nil {
		t.Error("nonsense was answered")
	}
	var m Memory
	if err := c.Ask(t.Context(), "memory", nil, &m, readyWait); err != nil || m.Settled <= 0 || m.GOGC == 0 {
		t.Errorf("memory %+v: %v", m, err)
	}
	if err := c.Kill(); err != nil {
		t.Error(err)
	}
	if err := c.Ask(t.Context(), "memory", nil, &m, readyWait); err == nil {
		t.Error("a killed process answered")
	}
}

func TestDriveCountsAndChecks(t *testing.T) {
	order := LoadOrder{Window: 200 * time.Millisecond, Size: 64}
	right := func(_ context.Context, body []byte) ([]byte, error) { return bytes.Clone(body), nil }
	var stale []byte
	late := func(_ context.Context, body []byte) ([]byte, error) { // each reply is the one before
		reply := stale
		stale = bytes.Clone(body)
		return reply, nil
	}
	failing := func(context.Context, []byte) ([]byte, error) { return nil, io.ErrUnexpectedEOF }

	load, err := drive(t.Context(), []Caller{right, right}, order)
	if err != nil || load.Calls == 0 || len(load.CPU) != 1 || len(load.Resident) != 1 || load.Elapsed < order.Window {
		t.Errorf("right callers: %+v, %v", load, err)
	}
	if _, err := drive(t.Context(), []Caller{right, late}, order); err == nil || !strings.Contains(err.Error(), "wrong reply") {
		t.Errorf("a caller with stale replies: %v", err)
	}
	if _, err := drive(t.Context(), []Caller{failing}, order); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a failing caller: %v", err)
	}
	if _, err := drive(t.Context(), []Caller{right}, LoadOrder{Size: 8}); err == nil {
		t.Error("a body too small to tell calls apart was accepted")
	}
}

func TestHandoverCheck(t *testing.T) {
	five := func(first time.Duration) []time.Duration {
		return []time.Duration{first + 3, first, first + 2, first + 1, first + 9}
	}
	good := Handover{WaitBegan: 10, Opened: 120, CloseCalled: five(100), CloseDone: five(110), Released: five(105)}
	if err := good.check(); err != nil || good.fromRelease() != 15 || good.fromCall() != 20 || good.fromReturn() != 10 {
		t.Errorf("%v; gaps %d %d %d", err, good.fromRelease(), good.fromCall(), good.fromReturn())
	}
	early, late, few := good, good, good
	early.Opened, late.WaitBegan, few.Released = 104, 101, few.Released[:4]
	for name, h := range map[string]Handover{"let in early": early, "came late": late, "too few releases": few} {
		if h.check() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
