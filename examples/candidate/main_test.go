package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/internal/trial"
)

// TestMain lets the test binary be the program.
func TestMain(m *testing.M) {
	if dir := os.Getenv("CELL"); dir != "" {
		trial.Program(func(ctx context.Context) error { return serve(ctx, dir, os.Getenv("ENDPOINT")) })
	}
	os.Exit(m.Run())
}

// Three processes elect the first of themselves. A session on another one goes on
// when that is killed, and new ones are opened.
func TestSessionOutlivesItsBroker(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir, endpoint := filepath.Join(t.TempDir(), "cell"), trial.FreeEndpoint(t)
	master := begin(t, dir, endpoint)
	cl, err := client.Dial(ctx, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	others := []*exec.Cmd{begin(t, dir, endpoint), begin(t, dir, endpoint)}

	s := open(ctx, t, cl)
	for s.Route().PID == master.Process.Pid { // until the others have registered
		s = open(ctx, t, cl)
	}
	for n := 1; n <= 10; n++ {
		if n == 5 {
			_ = master.Process.Kill()
			_ = master.Wait()
		}
		if got, err := client.Call[int](ctx, s, "add", 1); err != nil || got != n {
			t.Fatalf("add %d: %d, %v", n, got, err)
		}
	}
	open(ctx, t, cl) // the next master takes it
	for _, p := range others {
		_ = p.Process.Signal(syscall.SIGTERM)
	}
	for _, p := range others {
		if err := p.Wait(); err != nil {
			t.Errorf("a candidate ends with %v", err)
		}
	}
}

func open(ctx context.Context, t *testing.T, cl *client.Client) *client.Session {
	t.Helper()
	for {
		s, err := cl.Open(ctx, "counter")
		if err == nil {
			return s
		}
		if ctx.Err() != nil || errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
}

func begin(t *testing.T, dir, endpoint string) *exec.Cmd {
	t.Helper()
	return trial.Begin(t, "CELL="+dir, "ENDPOINT="+endpoint)
}
