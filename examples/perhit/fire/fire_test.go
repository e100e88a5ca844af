package fire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/session"

	"github.com/limpet-rpc/limpet/examples/perhit/front"
	"github.com/limpet-rpc/limpet/examples/perhit/scripts"
	"github.com/limpet-rpc/limpet/examples/perhit/tcl"
)

// stand stands for the front and its workers: it runs every hit's script in an
// interpreter of its own, on the spot.
type stand struct {
	count atomic.Int64
	// bends may change the answer to a hit of that kind; nil changes nothing.
	bends func(kind string, n int64, status *int, a *front.Answer)
	// hits is what GET /hits lists.
	hits func() []front.Running
}

func (s *stand) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/hits" {
		reply(w, s.hits())
		return
	}
	kind := path.Base(r.URL.Path)
	script, ok := scripts.Source(kind)
	if !ok {
		body, _ := io.ReadAll(r.Body)
		kind, script = "body", string(body)
	}
	n := s.count.Add(1)
	status, a := http.StatusOK, front.Answer{Session: fmt.Sprintf("%08d", n), PID: os.Getpid(), Thread: int(n), Calls: 3}
	result, err := evaluate(kind, script, r)
	if err != nil {
		status, a.Error = http.StatusUnprocessableEntity, err.Error()
	}
	a.Result = result
	if s.bends != nil {
		s.bends(kind, n, &status, &a)
	}
	w.WriteHeader(status)
	reply(w, a)
}

func reply(w io.Writer, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		panic(err) // no test leaves before it has its answer
	}
}

func evaluate(kind, script string, r *http.Request) (string, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	i := tcl.New()
	defer i.Close()
	i.LimitTime(time.Minute)
	err := i.SetVar("hit", kind)
	for name, values := range r.URL.Query() {
		err = errors.Join(err, i.SetVar(name, values[0]))
	}
	if err != nil {
		return "", err
	}
	switch kind {
	case "endless":
		i.LimitTime(20 * time.Millisecond)
	case "slow":
		_, err = i.Eval("proc after ms {}") // nobody waits for a test
	}
	if err != nil {
		return "", err
	}
	return i.Eval(script)
}

func run(t *testing.T, s *stand, o Options) (string, error) {
	t.Helper()
	server := httptest.NewServer(s)
	defer server.Close()
	var out bytes.Buffer
	o.Front, o.Out, o.Ready = server.URL, &out, time.Minute
	err := Run(t.Context(), o)
	return out.String(), err
}

// TestAllRight holds every kind's expectation against what Tcl really answers.
func TestAllRight(t *testing.T) {
	out, err := run(t, &stand{}, Options{Hits: 60, Concurrency: 16, Workers: []int{os.Getpid()}})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, k := range kinds {
		if !strings.Contains(out, "\n"+strings.Repeat(" ", 9-len(k.name))+k.name) {
			t.Errorf("the table has no line for %s", k.name)
		}
	}
	if !strings.Contains(out, "60 hits in ") {
		t.Errorf("no summary:\n%s", out)
	}
}

// TestEveryKindCanBeWrong gives one kind a wrong answer at a time.
func TestEveryKindCanBeWrong(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			s := &stand{bends: func(kind string, n int64, status *int, a *front.Answer) {
				if kind == k.name && n > 1 { // the first hit is the one that Run waits with
					*status, a.Result, a.Error = http.StatusOK, a.Result+"0", ""
				}
			}}
			out, err := run(t, s, Options{Hits: len(order), Concurrency: len(order)})
			if err == nil || !strings.Contains(err.Error(), "not answered right") || !strings.Contains(err.Error(), k.name+": ") {
				t.Errorf("Run = %v\n%s", err, out)
			}
		})
	}
}

func TestOneSessionForTwoHitsIsWrong(t *testing.T) {
	s := &stand{bends: func(_ string, _ int64, _ *int, a *front.Answer) { a.Session = "same" }}
	if _, err := run(t, s, Options{Hits: 10, Concurrency: 2}); err == nil || !strings.Contains(err.Error(), "has served another hit before") {
		t.Errorf("Run = %v", err)
	}
}

func TestNeverReady(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	o := Options{Front: server.URL, Hits: 1, Concurrency: 1, Workers: []int{12}, Ready: time.Millisecond, Out: io.Discard}
	if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "not ready after 1ms: no answer yet from the processes [12]") {
		t.Errorf("Run = %v", err)
	}
}

func TestOnlyWorkersAreKilled(t *testing.T) {
	o := Options{Hits: 1, Concurrency: 1, Workers: []int{12}, Kill: os.Getpid(), Out: io.Discard}
	if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "none of the workers") {
		t.Errorf("Run = %v", err)
	}
}

// victim is a process to be killed, with the front's view of it: it answers hits
// until a slow one comes late enough, which lasts until it is dead and then is lost.
type victim struct {
	pid  int
	dead chan struct{}
	slow atomic.Bool // the slow hit is running
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	v := &victim{pid: cmd.Process.Pid, dead: make(chan struct{})}
	go func() {
		defer close(v.dead)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-v.dead })
	return v
}

func (v *victim) hits() []front.Running {
	list := []front.Running{{Script: "fib", PID: v.pid}, {Script: "slow", PID: v.pid + 1}, {Script: "slow", PID: v.pid, Millis: 300}}
	if v.slow.Load() {
		list = append(list, front.Running{Script: "slow", PID: v.pid, Session: "00000001", Millis: 3})
	}
	return list
}

// bend puts some early hits and one slow hit on the victim, and answers the latter
// when it is dead, with the error of that code.
func (v *victim) bend(code session.Code) func(string, int64, *int, *front.Answer) {
	return func(kind string, n int64, status *int, a *front.Answer) {
		switch {
		case n <= 10:
			a.PID = []int{v.pid, os.Getpid()}[n%2]
		case kind == "slow" && v.slow.CompareAndSwap(false, true):
			<-v.dead
			*status, a.PID, a.Error, a.Kind = http.StatusServiceUnavailable, v.pid, code.Error(), code.Error()
		}
	}
}

func TestKill(t *testing.T) {
	v := newVictim(t)
	s := &stand{bends: v.bend(session.ErrWorkerLost), hits: v.hits}
	out, err := run(t, s, Options{Hits: 100, Concurrency: 8, Workers: []int{os.Getpid(), v.pid}, Kill: v.pid})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{fmt.Sprintf("killed process %d", v.pid), "LOST with the killed worker: 503 worker lost"} {
		if !strings.Contains(out, want) {
			t.Errorf("the progress does not say %q:\n%s", want, out)
		}
	}
}

func TestOnlyWorkerLostIsForgiven(t *testing.T) {
	v := newVictim(t)
	s := &stand{bends: v.bend(session.ErrOverloaded), hits: v.hits}
	out, err := run(t, s, Options{Hits: 100, Concurrency: 8, Workers: []int{os.Getpid(), v.pid}, Kill: v.pid})
	if err == nil || !strings.Contains(err.Error(), "overloaded") {
		t.Errorf("Run = %v\n%s", err, out)
	}
}

func TestLostOnlyWhileUnderWay(t *testing.T) {
	killed := time.Unix(100, 0)
	lost := front.Answer{Kind: session.ErrWorkerLost.Error()}
	cases := map[string]struct {
		h    hit
		want bool
	}{
		"under way":       {hit{start: killed.Add(-time.Second), took: 2 * time.Second, status: 503, answer: lost}, true},
		"answered before": {hit{start: killed.Add(-3 * time.Second), took: time.Second, status: 503, answer: lost}, false},
		"begun after":     {hit{start: killed.Add(time.Second), took: time.Second, status: 503, answer: lost}, false},
		"another status":  {hit{start: killed.Add(-time.Second), took: 2 * time.Second, status: 500, answer: lost}, false},
	}
	for name, c := range cases {
		if got := lostWith(c.h, killed.UnixNano()); got != c.want {
			t.Errorf("%s: %v; want %v", name, got, c.want)
		}
	}
	if lostWith(cases["under way"].h, 0) {
		t.Error("lost without a kill")
	}
}

func TestPercentile(t *testing.T) {
	var times []time.Duration
	if got := percentile(times, 50); got != 0 {
		t.Errorf("of none: %v", got)
	}
	for i := range 100 {
		times = append(times, time.Duration(i+1))
	}
	for p, want := range map[int]time.Duration{0: 1, 1: 1, 50: 50, 99: 99, 100: 100} {
		if got := percentile(times, p); got != want {
			t.Errorf("percentile %d of 1 to 100 is %d; want %d", p, got, want)
		}
	}
	if got := percentile(slices.Clone(times[:3]), 50); got != 2 {
		t.Errorf("the median of 1, 2, 3 is %d", got)
	}
}
