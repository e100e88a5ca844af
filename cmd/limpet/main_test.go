package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/worker"
)

// role says which program the test binary is when a test starts it: limpet, or
// the worker that the tests call. So what the tests run is a process of its
// own, with the race detector where that is on.
const role = "LIMPET_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "limpet":
		os.Exit(run(os.Args[1:]))
	case "worker":
		serveLab()
	default:
		os.Exit(m.Run())
	}
}

// serveLab is a worker with a method for each way a call can end.
func serveLab() {
	lab := worker.NewPool(worker.Config[*int]{
		Pool: "lab", Slots: 2,
		Open: func(context.Context, *worker.Session) (*int, error) { return new(int), nil },
	})
	worker.Handle(lab, "add", func(_ context.Context, total *int, n int) (int, error) {
		*total += n
		return *total, nil
	})
	worker.Handle(lab, "echo", func(_ context.Context, _ *int, v any) (any, error) { return v, nil })
	worker.Handle(lab, "bytes", func(_ context.Context, _ *int, b []byte) ([]byte, error) { return b, nil })
	worker.Handle(lab, "back", func(_ context.Context, _ *int, r io.Reader) (io.Reader, error) { return r, nil })
	worker.Handle(lab, "nested", func(context.Context, *int, any) (any, error) {
		return map[int]any{7: []any{[]byte("\x00\xff"), nil, true, 1.5, float32(0.1), time.Unix(1, 5).UTC()}}, nil
	})
	worker.Handle(lab, "wait", func(ctx context.Context, _ *int, _ any) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	worker.Handle(lab, "hang", func(ctx context.Context, _ *int, _ any) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	lab.Budget("hang", time.Millisecond)
	worker.HandleCast(lab, "who", func(context.Context, any) (string, error) { return os.Getenv("LAB_NAME"), nil })
	worker.HandleCast(lab, "only", func(_ context.Context, name string) (string, error) {
		if name != os.Getenv("LAB_NAME") {
			return "", errors.New("not me")
		}
		return name, nil
	})
	worker.HandleCast(lab, "wait", func(ctx context.Context, name string) (string, error) {
		if name == os.Getenv("LAB_NAME") {
			<-ctx.Done()
		}
		return name, ctx.Err()
	})
	worker.Handle(lab, "fail", func(context.Context, *int, any) (any, error) { return nil, errors.New("two\nlines") })
	worker.Handle(lab, "panic", func(context.Context, *int, any) (any, error) { panic("at the method") })
	worker.Handle(lab, "exit", func(context.Context, *int, any) (any, error) { os.Exit(9); return 0, nil })
	if err := worker.Serve(context.Background(), worker.Options{Name: os.Getenv("LAB_NAME"), Logger: slog.New(slog.DiscardHandler)}, lab); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// long bounds what must happen sooner or later.
const long = 2 * time.Minute

// cell is a broker process that ends with the test.
type cell struct {
	broker, admin string
	process       *os.Process
}

// as returns a command of this binary in a role, in an environment that holds
// nothing of the caller's.
func as(ctx context.Context, what string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = []string{role + "=" + what, "PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir(), "TERM=dumb", "GORACE=atexit_sleep_ms=0"}
	if cover := os.Getenv("GOCOVERDIR"); cover != "" {
		cmd.Env = append(cmd.Env, "GOCOVERDIR="+cover)
	}
	return cmd
}

// logLine waits for a field of the broker's log.
func logLine(t *testing.T, log *json.Decoder, field string) string {
	t.Helper()
	for {
		var line map[string]any
		if err := log.Decode(&line); err != nil {
			t.Fatalf("the broker ended before it named its %s: %v", field, err)
		}
		if value, ok := line[field].(string); ok {
			return value
		}
	}
}

// newCell starts a broker at free ports.
func newCell(t *testing.T, args ...string) *cell {
	t.Helper()
	args = append([]string{
		"broker", "--listen", "tcp://127.0.0.1:0", "--admin", "127.0.0.1:0", "--recovery", "1ms", "--beat", "100ms", "--log-format", "json",
	}, args...)
	cmd := as(context.Background(), "limpet", args...)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &cell{process: cmd.Process}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("the broker ended with %v", err)
		}
	})
	lines := json.NewDecoder(log)
	c.admin = strings.TrimPrefix(logLine(t, lines, "url"), "http://")
	c.broker = logLine(t, lines, "endpoint")
	go func() { _, _ = io.Copy(io.Discard, io.MultiReader(lines.Buffered(), log)) }() // ends with the broker
	return c
}

// serve starts a worker process and waits until it is registered.
func (c *cell) serve(t *testing.T, name string) *os.Process {
	t.Helper()
	cmd := as(context.Background(), "worker")
	cmd.Env = append(cmd.Env, "LIMPET_BROKER="+c.broker, "LAB_NAME="+name)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have been killed by the test
		_ = cmd.Wait()
	})
	c.await(t, "the worker is registered", func(st *core.Status) bool {
		for i := range st.Nodes {
			if st.Nodes[i].Name == name {
				return true
			}
		}
		return false
	})
	return cmd.Process
}

// await polls the status until it is as wanted.
func (c *cell) await(t *testing.T, what string, ok func(*core.Status) bool) {
	t.Helper()
	for deadline := time.Now().Add(long); ; {
		got := c.limpet(t, "", "status", "--json")
		var st core.Status
		if err := json.Unmarshal([]byte(got.out), &st); err != nil {
			t.Fatalf("%v: %+v", err, got)
		}
		if ok(&st) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// result is what a command left behind.
type result struct {
	out, err string
	code     int
}

// limpet runs limpet to its end.
func (c *cell) limpet(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	return c.limpetIn(t, nil, stdin, args...)
}

// limpetIn is limpet with more environment.
func (c *cell) limpetIn(t *testing.T, env []string, stdin string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	cmd := as(ctx, "limpet", args...)
	if c != nil {
		cmd.Env = append(cmd.Env, "LIMPET_BROKER="+c.broker, "LIMPET_ADMIN="+c.admin)
	}
	cmd.Env = append(cmd.Env, env...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}
