package main

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/assigner"
	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/internal/trial"
)

// TestMain lets the test binary be the program.
func TestMain(m *testing.M) {
	if args := os.Getenv("JOBS"); args != "" {
		trial.Program(func(ctx context.Context) error { return jobs(ctx, strings.Fields(args)) })
	}
	os.Exit(m.Run())
}

// The README's output, twice: the second client finds nothing of the first one's
// jobs.
func TestJobs(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	url := serve(ctx, t)
	for range 2 {
		cmd := process(ctx, url, "run")
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Replace(string(out), "result 1: worker2", "result 1: worker1", 1) // whichever was first
		if want := shown(t); got != want {
			t.Errorf("got\n%s\nthe README shows\n%s", got, want)
		}
	}
}

// serve starts a broker and two workers that end with the test.
func serve(ctx context.Context, t *testing.T) (url string) {
	t.Helper()
	b := trial.Broker(t, broker.Options{Policy: assigner.RoundRobin, Recovery: time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	for _, args := range []string{"worker worker1 host", "worker worker2"} {
		cmd := process(context.WithoutCancel(ctx), b.Endpoint(), args) // the end of the test ends it, in good order
		cmd.Stderr = new(bytes.Buffer)                                 // their panics are meant
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Errorf("%s: %v\n%s", args, err, cmd.Stderr)
			}
		})
	}
	for {
		st, err := b.Status(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if len(st.Nodes) == 2 {
			return b.Endpoint()
		}
		time.Sleep(10 * time.Millisecond) // a poll, not an event: ctx bounds it
	}
}

func process(ctx context.Context, broker, args string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "JOBS="+args, "LIMPET_BROKER="+broker)
	return cmd
}

// shown is what the README says that the client prints.
func shown(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "The client prints\n\n")
	var lines strings.Builder
	for line := range strings.Lines(after) {
		line, found := strings.CutPrefix(line, "    ")
		if !found {
			break
		}
		lines.WriteString(line)
	}
	return lines.String()
}
