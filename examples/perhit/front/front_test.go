package front

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/session"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/examples/perhit/calls"
)

// worker stands for a session and its worker: it notes what it is called with.
type worker struct {
	id      session.ID
	place   calls.Place
	values  map[string]string
	made    []string
	fails   map[string]error // by method
	answers func(method string, reply any)
}

func (w *worker) ID() session.ID { return w.id }

func (w *worker) Call(_ context.Context, method string, arg, reply any, _ ...client.CallOption) error {
	w.made = append(w.made, method)
	if err := w.fails[method]; err != nil {
		return err
	}
	switch reply := reply.(type) {
	case *calls.Place:
		*reply = w.place
	case *calls.Collected:
		*reply = calls.Collected{Values: map[string]string{calls.ResultName: w.values["eval"]}, Place: w.place, Calls: len(w.made)}
	}
	switch arg := arg.(type) {
	case calls.Variable:
		w.values[arg.Name] = arg.Value
	case calls.Script:
		w.values["eval"] = "value of " + arg.Script
	}
	if w.answers != nil {
		w.answers(method, reply)
	}
	return nil
}

func newWorker() *worker {
	return &worker{
		id: uuid.MustParse("11111111-2222-4333-8444-555555555555"), place: calls.Place{PID: 7, Thread: 9},
		values: map[string]string{}, fails: map[string]error{},
	}
}

// send makes one hit at a front that gives it w, or openErr, for a session.
func send(t *testing.T, w *worker, openErr error, method, target, body string) (int, Answer) {
	t.Helper()
	plain := func(next http.Handler) http.Handler { return next }
	f := newFront(time.Minute, plain, func(context.Context) (Session, error) { return w, openErr })
	recorder := httptest.NewRecorder()
	f.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body)))
	var a Answer
	if err := json.Unmarshal(recorder.Body.Bytes(), &a); err != nil {
		t.Fatalf("%s %s answered %d %q: %v", method, target, recorder.Code, recorder.Body, err)
	}
	if left := f.running.list(time.Now()); len(left) != 0 {
		t.Errorf("after the hit these are still listed as running: %+v", left)
	}
	return recorder.Code, a
}

func TestRunBody(t *testing.T) {
	w := newWorker()
	status, a := send(t, w, nil, "POST", "/run?y=b+c&x=3", "expr 1")
	want := Answer{Result: "value of expr 1", Session: w.id.String(), PID: 7, Thread: 9, Calls: 5}
	if status != http.StatusOK || a != want {
		t.Errorf("answer %d %+v; want 200 %+v", status, a, want)
	}
	if want := []string{"set", "set", "set", "eval", "collect"}; !slices.Equal(w.made, want) {
		t.Errorf("calls %v; want %v", w.made, want)
	}
	for name, value := range map[string]string{"hit": "body", "x": "3", "y": "b c"} {
		if w.values[name] != value {
			t.Errorf("variable %s = %q; want %q", name, w.values[name], value)
		}
	}
}

func TestRunNamed(t *testing.T) {
	w := newWorker()
	status, a := send(t, w, nil, "GET", "/run/endless", "")
	if status != http.StatusOK || !strings.Contains(a.Result, "while 1") || a.Calls != 3 || w.values["hit"] != "endless" {
		t.Errorf("answer %d %+v after %v", status, a, w.made)
	}
}

func TestFailures(t *testing.T) {
	cases := []struct {
		err    error
		status int
		kind   string
	}{
		{&session.Error{Code: session.ErrMethod, Text: "on purpose"}, 422, "method failed"},
		{&session.Error{Code: session.ErrWorkerLost, Outcome: session.Unknown, Call: 2}, 503, "worker lost"},
		{&session.Error{Code: session.ErrNoWorker, Outcome: session.NotRun, Cause: context.DeadlineExceeded}, 503, "no worker in time"},
		{&session.Error{Code: session.ErrPoolUnknown, Outcome: session.NotRun}, 503, "unknown pool"},
		{&session.Error{Code: session.ErrUnreachable, Outcome: session.NotRun}, 503, "broker unreachable"},
		{&session.Error{Code: session.ErrWorkerHung, Outcome: session.Unknown}, 504, "worker hung"},
		{&session.Error{Code: session.ErrDeadline, Outcome: session.Unknown, Cause: context.DeadlineExceeded}, 504, "deadline passed"},
		{context.DeadlineExceeded, 504, ""},
		{&session.Error{Code: session.ErrWorkerPanic}, 500, "worker panicked"},
		{errors.New("what nobody thought of"), 500, ""},
	}
	for _, c := range cases {
		t.Run(fmt.Sprint(c.err), func(t *testing.T) {
			w := newWorker()
			w.fails[calls.Eval] = c.err
			status, a := send(t, w, nil, "GET", "/run/fib?x=3", "")
			if status != c.status || a.Kind != c.kind || a.Error != c.err.Error() {
				t.Errorf("eval: answer %d %+v; want %d", status, a, c.status)
			}
			if a.Session == "" || a.PID != 7 || a.Calls != 3 {
				t.Errorf("eval: the answer does not say how far the hit got: %+v", a)
			}
			status, a = send(t, nil, c.err, "GET", "/run/fib?x=3", "")
			if status != c.status || a.Kind != c.kind || a.Session != "" || a.Calls != 0 || !strings.Contains(a.Error, "open a session: ") {
				t.Errorf("open: answer %d %+v; want %d", status, a, c.status)
			}
		})
	}
}

func TestOutcomeIsNamed(t *testing.T) {
	for outcome, want := range map[session.Outcome]string{session.NotRun: "not run", session.Unknown: "unknown outcome", session.Done: "done"} {
		if _, a := failure(&session.Error{Code: session.ErrWorkerLost, Outcome: outcome}); a.Outcome != want {
			t.Errorf("outcome %q; want %q", a.Outcome, want)
		}
	}
}

// TestMovedSessionIsNoticed breaks each of the promises that the front checks.
func TestMovedSessionIsNoticed(t *testing.T) {
	elsewhere := calls.Place{PID: 7, Thread: 10}
	for name, answers := range map[string]func(string, any){
		"eval on another thread": func(method string, reply any) {
			if method == calls.Eval {
				*reply.(*calls.Place) = elsewhere
			}
		},
		"collect on another thread": func(method string, reply any) {
			if method == calls.Collect {
				reply.(*calls.Collected).Place = elsewhere
			}
		},
		"a call of somebody else": func(method string, reply any) {
			if method == calls.Collect {
				reply.(*calls.Collected).Calls++
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorker()
			w.answers = answers
			status, a := send(t, w, nil, "GET", "/run/fib?x=3", "")
			if status != http.StatusInternalServerError || !strings.Contains(a.Error, "the session moved") {
				t.Errorf("answer %d %+v", status, a)
			}
		})
	}
}

func TestBadHitsNeedNoSession(t *testing.T) {
	many := make([]string, maxVariables+1)
	for i := range many {
		many[i] = fmt.Sprintf("v%d=1", i)
	}
	cases := []struct {
		method, target, body string
		status               int
		says                 string
	}{
		{"GET", "/run/absent", "", 404, `no script "absent"`},
		{"GET", "/run/..%2ffront", "", 404, "no script"},
		{"GET", "/run/fib?x=1&x=2", "", 400, `parameter "x"`},
		{"GET", "/run/fib?=2", "", 400, `parameter ""`},
		{"GET", "/run/fib?x=%zz", "", 400, "read the query"},
		{"GET", "/run/fib?" + strings.Join(many, "&"), "", 400, "at most 32"},
		{"POST", "/run", strings.Repeat("#", maxScript+1), 413, "longer than 1048576 bytes"},
	}
	for _, c := range cases {
		t.Run(c.says, func(t *testing.T) {
			w := newWorker()
			status, a := send(t, w, nil, c.method, c.target, c.body)
			if status != c.status || !strings.Contains(a.Error, c.says) {
				t.Errorf("answer %d %+v; want %d and %q", status, a, c.status, c.says)
			}
			if len(w.made) != 0 {
				t.Errorf("calls were made: %v", w.made)
			}
		})
	}
}

// TestRunningHitsAreListed looks at the list from within a hit.
func TestRunningHitsAreListed(t *testing.T) {
	w := newWorker()
	plain := func(next http.Handler) http.Handler { return next }
	f := newFront(time.Minute, plain, func(context.Context) (Session, error) { return w, nil })
	var before, during []Running
	w.answers = func(method string, _ any) {
		switch list := f.running.list(time.Now()); method {
		case calls.Set:
			before = list
		case calls.Eval:
			during = list
		}
	}
	f.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), "GET", "/run/fresh", nil))
	if len(before) != 1 || before[0].Script != "fresh" || before[0].Session != "" || before[0].PID != 0 {
		t.Errorf("before the first answer: %+v", before)
	}
	if len(during) != 1 || during[0].Session != w.id.String() || during[0].PID != 7 || during[0].Thread != 9 {
		t.Errorf("during eval: %+v", during)
	}
}

func TestPlainPages(t *testing.T) {
	f := newFront(time.Minute, func(next http.Handler) http.Handler { return next }, nil)
	for target, want := range map[string]string{
		"/healthz": "ok\n",
		"/hits":    "[]\n",
		"/scripts": `["broken","endless","fib","fresh","lists","slow","words"]` + "\n",
	} {
		recorder := httptest.NewRecorder()
		f.ServeHTTP(recorder, httptest.NewRequestWithContext(t.Context(), "GET", target, nil))
		if recorder.Code != http.StatusOK || recorder.Body.String() != want {
			t.Errorf("GET %s = %d %q; want %q", target, recorder.Code, recorder.Body, want)
		}
	}
}
