package main

import (
	"context"
	"fmt"
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
		trial.Program(func(ctx context.Context) error { return serve(ctx, dir, os.Getenv("ENDPOINT"), os.Getenv("NAME")) })
	}
	os.Exit(m.Run())
}

const servers = 5

// Five servers on a host elect one master. One of them asks all: five answers,
// to the one that asked and to no other.
func TestEverybodyAnswersTheIssuerOnly(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir, endpoint := filepath.Join(t.TempDir(), "cell"), trial.FreeEndpoint(t)
	var all []*exec.Cmd
	for i := range servers {
		all = append(all, trial.Begin(t, "CELL="+dir, "ENDPOINT="+endpoint, fmt.Sprint("NAME=server-", i+1)))
	}
	cl, err := client.Dial(ctx, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cl.Close() })
	for len(ask(ctx, t, cl)) < servers { // until all have registered
		time.Sleep(10 * time.Millisecond) // a poll, not an event: ctx bounds it
	}
	s, err := cl.Open(ctx, "servers")
	if err != nil {
		t.Fatal(err)
	}
	answers, err := client.Call[[]Who](ctx, s, "ask", struct{}{})
	if err != nil || len(answers) != servers {
		t.Fatalf("%d answers, %v", len(answers), err)
	}
	masters := 0
	for name, who := range ask(ctx, t, cl) {
		want := int64(0)
		if name == s.Route().NodeName {
			want = servers
		}
		if who.Heard != want {
			t.Errorf("%s was given %d answers, want %d", name, who.Heard, want)
		}
		if who.Master {
			masters++
		}
	}
	if masters != 1 {
		t.Errorf("%d masters", masters)
	}
	_ = s.Close(ctx)
	for _, p := range all {
		_ = p.Process.Signal(syscall.SIGTERM)
	}
	for _, p := range all {
		if err := p.Wait(); err != nil {
			t.Errorf("a server ends with %v", err)
		}
	}
}

// ask has the test itself ask everybody.
func ask(ctx context.Context, t *testing.T, cl *client.Client) map[string]Who {
	t.Helper()
	all := map[string]Who{}
	cast := client.Broadcast[Who](ctx, cl, "servers", "who", nil)
	for a, err := range cast.Answers() {
		if err != nil {
			t.Fatal(err)
		}
		all[a.Name] = a.Value
	}
	if sum, err := cast.Wait(); err != nil || !sum.All() || sum.Members != len(all) {
		t.Fatalf("%+v, %v", sum, err)
	}
	return all
}
