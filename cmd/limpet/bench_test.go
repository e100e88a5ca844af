package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

func TestBench(t *testing.T) {
	c := newCell(t)
	c.serve(t, "lab")
	got := c.limpet(t, "", "bench", "lab", "add", "1", "--sessions", "2", "--duration", "500ms")
	for _, part := range []string{"pool lab, method add, 2 sessions", "calls/s", " 0 failed", "p50", "p90", "p99", "max", "#"} {
		if got.code != exitOK || !strings.Contains(got.out, part) {
			t.Errorf("%q is missing: %+v", part, got)
		}
	}
	for _, test := range []struct {
		args string
		code int
		err  []string
	}{
		{"add 1 --sessions 3 --wait 1s", exitTimeout, []string{"2 of 3 sessions opened", "no worker in time"}},
		{"nope", exitRefused, []string{"the first call", `no method "nope"`}},
		{"add {", exitUsage, []string{"argument: not JSON"}},
		{"add 1 --sessions 0", exitUsage, []string{"--sessions", "from 1 to 100000"}},
	} {
		got := c.limpet(t, "", append([]string{"bench", "lab"}, strings.Fields(test.args)...)...)
		for _, part := range test.err {
			if got.code != test.code || !strings.Contains(got.err, part) {
				t.Errorf("bench lab %s: %+v, want code %d and %q", test.args, got, test.code, part)
			}
		}
	}
}

// A signal ends it with what was measured, and its sessions are closed: both
// slots are free for the next.
func TestBenchInterrupted(t *testing.T) {
	c := newCell(t)
	c.serve(t, "lab")
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	cmd := as(ctx, "limpet", "bench", "lab", "add", "1", "--sessions", "2", "--duration", "1h")
	cmd.Env = append(cmd.Env, "LIMPET_BROKER="+c.broker)
	var out bytes.Buffer
	cmd.Stdout = &out
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(errs).ReadString('\n'); err != nil || !strings.Contains(line, "2 sessions open") {
		t.Errorf("%q, %v", line, err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "calls/s") {
		var exit *exec.ExitError
		t.Errorf("%v (an exit: %t), it wrote %q", err, errors.As(err, &exit), out.String())
	}
	if got := c.limpet(t, "", "bench", "lab", "add", "1", "--sessions", "2", "--duration", "10ms", "--wait", "30s"); got.code != exitOK {
		t.Errorf("the next: %+v", got)
	}
}

func TestTally(t *testing.T) {
	y := newTally()
	y.began = time.Unix(0, 0)
	for i := range 98 {
		y.add(i, 100*time.Microsecond, nil)
	}
	y.add(0, 3*time.Millisecond, nil)
	y.add(1, 2*time.Hour, nil)
	lost := &session.Error{Code: session.ErrWorkerLost, Outcome: session.Unknown}
	for _, err := range []error{lost, fmt.Errorf("call add: %w", lost), &session.Error{Code: session.ErrDeadline}} {
		y.add(0, time.Second, err)
	}
	y.ended = time.Unix(2, 0)
	var out bytes.Buffer
	y.write(&out)
	for _, part := range []string{
		"100 calls in 2s, 3 failed: 50 calls/s", "p50 100µs", "p90 100µs", "p99 3ms", "max 1h0m",
		"< 131µs  98  " + strings.Repeat("#", tallyWidth), "       2  worker lost (code 62)\n       1  deadline passed (code 64)\n",
	} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("%q is missing:\n%s", part, out.String())
		}
	}
	if err := y.failure(); !errors.Is(err, session.ErrWorkerLost) || exitCode(err) != exitLost {
		t.Errorf("failure %v, exit code %d", err, exitCode(err))
	}
	if err := newTally().failure(); err != nil {
		t.Errorf("nothing failed, and yet: %v", err)
	}
	for ns, want := range map[int64]string{7: "7ns", 1234: "1.23µs", 123_456: "123µs", 1_500_000_000: "1.5s"} {
		if got := short(ns); got != want {
			t.Errorf("%d ns: %s, want %s", ns, got, want)
		}
	}
}
