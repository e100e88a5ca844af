package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/client/front"
	"github.com/limpet-rpc/limpet/internal/trial"
)

// TestMain lets the test binary be the workers.
func TestMain(m *testing.M) {
	names := os.Getenv("POOLS")
	if names == "" {
		os.Exit(m.Run())
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	trial.Program(func(ctx context.Context) error { return serve(ctx, names, 8) })
}

// The route's deadline: that of the file, and that of the tests that wait for it
// often.
const (
	inFile   = 2 * time.Second
	deadline = 300 * time.Millisecond
)

// site is the example as it is deployed, but for the deadline.
type site struct {
	*trial.Site
	deadline time.Duration
}

func newSite(t *testing.T, deadline time.Duration) site {
	t.Helper()
	return site{trial.NewSite(t, func(all *front.Routes) {
		if got := all.Routes[0].Deadline.Duration; got != inFile {
			t.Errorf("the file's deadline is %v", got)
		}
		all.Routes[0].Deadline.Duration = deadline
	}), deadline}
}

// serve starts a process that serves pools.
func (s site) serve(t *testing.T, pools string) *exec.Cmd {
	t.Helper()
	return s.Serve(t, "POOLS="+pools)
}

// gone stops a process that serves pools, and waits until it has left.
func (s site) gone(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	before := len(s.Status(t).Nodes)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	s.Await(t, func(st core.Status) bool { return len(st.Nodes) < before })
}

// empty waits until nothing of any request is left.
func (s site) empty(t *testing.T) {
	t.Helper()
	s.Await(t, func(st core.Status) bool {
		for _, p := range st.Pools {
			if p.Waiting > 0 || p.Offered > 0 || p.Open > 0 {
				return false
			}
		}
		return true
	})
	if _, body, _ := get(t, s.URL+"/healthz"); !strings.Contains(body, `"requests":0`) {
		t.Errorf("the front still has requests: %s", body)
	}
}

func get(t *testing.T, url string) (status int, body string, took time.Duration) {
	t.Helper()
	begun := time.Now()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b), time.Since(begun)
}

func (s site) of(n string) string { return s.URL + "/sumsquare?n=" + url.QueryEscape(n) }

// right asks until there is an answer, for workers that were stopped take a moment.
func (s site) right(t *testing.T, n, want string) {
	t.Helper()
	if status, body := s.answer(t, n); status != http.StatusOK || body != want {
		t.Fatalf("%s: %d %s, want %s", n, status, body, want)
	}
}

// answer asks until it is not the fallback.
func (s site) answer(t *testing.T, n string) (status int, body string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		if status, body, _ = get(t, s.of(n)); body != failed || time.Now().After(end) {
			return status, body
		}
	}
}

const failed = `{"success": false}`

// late asks for what cannot be answered.
func (s site) late(t *testing.T) {
	t.Helper()
	if status, body, took := get(t, s.of("1..10")); status != http.StatusOK || body != failed || took < s.deadline {
		t.Errorf("after %v: %d %s", took, status, body)
	}
}

func (s site) refused(t *testing.T) {
	t.Helper()
	for _, url := range []string{
		s.of("abc"), s.of(""), s.URL + "/sumsquare", s.of("1.."), s.of("1,,2"), s.of("12345"), s.of("1,2..3"), s.of("-1"), s.of("1\n2"), s.of("1") + "&n=2",
	} {
		if status, body, _ := get(t, url); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", url, status, body)
		}
	}
}

func TestSumSquare(t *testing.T) {
	s := newSite(t, deadline)
	s.serve(t, "ask,sum")
	s.serve(t, "square")
	s.right(t, "1..10", `{"diff":2640,"square":3025,"sum":385}`)
	s.right(t, "42", `{"diff":0,"square":1764,"sum":1764}`)
	s.right(t, "1,2,3", `{"diff":22,"square":36,"sum":14}`)
	s.right(t, "9999", `{"diff":0,"square":99980001,"sum":99980001}`)
	s.refused(t)
	if status, body := s.answer(t, "1..5000"); status != http.StatusBadRequest || !strings.Contains(body, "at most 1000 numbers") {
		t.Errorf("too many: %d %s", status, body)
	}
	s.empty(t)
}

// Without workers the answer is the fallback, at the deadline; what is wrong with
// a request is said at once all the same.
func TestNobodyServes(t *testing.T) {
	s := newSite(t, deadline)
	s.late(t)
	s.refused(t)
	s.serve(t, "ask")
	s.serve(t, "sum")
	s.late(t) // there was no square yet
	square := s.serve(t, "square")
	s.right(t, "1,2,3", `{"diff":22,"square":36,"sum":14}`)
	s.gone(t, square)
	s.late(t)
	s.empty(t)
}

// The file as it is: two seconds, and not less, where all workers have stopped and
// where only square has. Nothing of the requests is left.
func TestDeadlineOfTheFile(t *testing.T) {
	t.Parallel()
	for name, stopped := range map[string]int{"all have stopped": 3, "only square has": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, inFile)
			workers := []*exec.Cmd{s.serve(t, "square"), s.serve(t, "sum"), s.serve(t, "ask")}
			s.right(t, "1..10", `{"diff":2640,"square":3025,"sum":385}`)
			for _, w := range workers[:stopped] {
				s.gone(t, w)
			}
			s.late(t)
			s.empty(t)
		})
	}
}

// A square that stands still answers late, when nobody waits any more: what it
// says is dropped, and the next request gets its own.
func TestLatePart(t *testing.T) {
	s := newSite(t, deadline)
	s.serve(t, "ask,sum")
	square := s.serve(t, "square")
	s.right(t, "42", `{"diff":0,"square":1764,"sum":1764}`)
	trial.Stop(t, square.Process)
	for range 3 {
		s.late(t)
	}
	if err := square.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		s.right(t, "1,2,3", `{"diff":22,"square":36,"sum":14}`)
		s.right(t, "42", `{"diff":0,"square":1764,"sum":1764}`)
	}
	s.empty(t)
}
