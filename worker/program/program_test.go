package program_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker/program"
)

// Every session has a process of its own, and its state lives as long as it.
func TestSessionsHaveTheirOwnProcess(t *testing.T) {
	st := newStage(t, "act", nil)
	a, b := st.open(), st.open()
	for i := 1; i <= 3; i++ {
		if n := must[int](t, a, "add", 1); n != i {
			t.Errorf("total %d, want %d", n, i)
		}
	}
	if n := must[int](t, b, "add", 5); n != 5 {
		t.Errorf("the other's total is %d, want 5", n)
	}
	if x, y := must[int](t, a, "pid", nil), must[int](t, b, "pid", nil); x == y {
		t.Errorf("both are process %d", x)
	}
	closeSession(t, a)
	nobody(t, a.ID())
	if n := must[int](t, b, "add", 1); n != 6 {
		t.Errorf("the other's total is %d after the first was closed, want 6", n)
	}
}

// What a call sends and gets, through MessagePack and JSON and back.
func TestValues(t *testing.T) {
	st := newStage(t, "act", nil)
	s := st.open()
	for _, test := range []struct{ arg, want any }{
		{nil, "none"},
		{7, []any{int64(7)}},
		{"word", []any{"word"}},
		{true, []any{true}},
		{[]any{}, []any{}},
		{[]any{1, []any{2.0}}, []any{int64(1), []any{2.0}}},
		{map[string]any{"a": nil}, map[string]any{"a": nil}},
		{[]any{uint64(math.MaxUint64), int64(math.MinInt64), 0.1}, []any{uint64(math.MaxUint64), int64(math.MinInt64), 0.1}},
		{[]byte{0, 255}, []any{map[string]any{"bytes": "AP8="}}},
		{map[string]any{"b": []byte{1}}, map[string]any{"b": map[string]any{"bytes": "AQ=="}}},
		{"<ü>\u2028\n\x00", []any{"<ü>\u2028\n\x00"}},
	} {
		if got := must[any](t, s, "params", test.arg); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%#v comes back as %#v, want %#v", test.arg, got, test.want)
		}
	}
	for text, want := range map[string]string{
		"18446744073709551616": "does not fit 64 bits", "1e999": "does not fit",
		strings.Repeat("[", 65) + strings.Repeat("]", 65): "nested more than",
	} {
		if _, err := call[any](t, s, "result", text); !errors.Is(err, session.ErrMethod) || !strings.Contains(err.Error(), want) {
			t.Errorf("a result of %.20s: %v", text, err)
		}
	}
	if text, err := call[string](t, s, "large", "9437184"); err != nil || len(text) < 9437184 {
		t.Errorf("a result that does not fit a frame comes with %d bytes, %v", len(text), err)
	}
	if n := must[int](t, s, "add", 1); n != 1 {
		t.Errorf("the session goes on with %d", n)
	}
}

func TestMethodErrors(t *testing.T) {
	st := newStage(t, "act", nil)
	s := st.open()
	_, err := call[any](t, s, "fail", nil)
	e, ok := errors.AsType[*session.Error](err)
	if !ok || e.Code != session.ErrMethod || e.Outcome != session.Done || e.Text != `no rum (code -32050), data {"left":0}` {
		t.Errorf("failed with %v", err)
	}
	if _, err := call[any](t, s, "garbled", nil); !errors.Is(err, session.ErrMethod) || !strings.Contains(err.Error(), "Parse error") {
		t.Errorf("an error without an id: %v", err)
	}
	if n := must[int](t, s, "add", 1); n != 1 {
		t.Errorf("the session goes on with %d", n)
	}
}

func TestNotificationsAreProgress(t *testing.T) {
	st := newStage(t, "act", nil)
	s := st.open()
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	call := s.Go(ctx, "steps", nil)
	var got []any
	for v, err := range client.Progress[any](call) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, v)
	}
	want := []any{int64(1), map[string]any{"method": "$/note", "params": map[string]any{"of": int64(2)}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("progress %v, want %v", got, want)
	}
	if err := call.Wait(nil); err != nil {
		t.Error(err)
	}
}

// A language server asks its client things: it gets an answer.
func TestRequestsOfTheChildAreAnswered(t *testing.T) {
	st := newStage(t, "act", nil)
	want := []any{"q1", map[string]any{"code": int64(-32601), "message": "Method not found"}}
	if got := must[any](t, st.open(), "ask", nil); !reflect.DeepEqual(got, want) {
		t.Errorf("answered %v, want %v", got, want)
	}
}

func TestFolderAndEnvironment(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	st := newStage(t, "act", func(c *program.Config) { c.Dir, c.Env = dir, append(c.Env, "DRINK=rum=3") })
	s := st.open()
	if got := must[string](t, s, "env", "DRINK"); got != "rum=3" {
		t.Errorf("DRINK is %q", got)
	}
	if got := must[string](t, s, "env", "LIMPET_SESSION"); got != s.ID().String() {
		t.Errorf("LIMPET_SESSION is %q, want %s", got, s.ID())
	}
	if got := must[string](t, s, "dir", nil); got != dir {
		t.Errorf("it runs in %s, want %s", got, dir)
	}
}

// A call that is cancelled is heard of by the child, which may answer.
func TestCancelIsHeeded(t *testing.T) {
	st := newStage(t, "act", func(c *program.Config) { c.Grace = long })
	s := st.open()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := client.Call[any, any](ctx, s, "obey", nil)
	if !errors.Is(err, session.ErrDeadline) {
		t.Errorf("it ended with %v, want deadline passed", err)
	}
	if n := must[int](t, s, "add", 2); n != 2 {
		t.Errorf("the session goes on with %d", n)
	}
}

// One that does not answer is killed, and its session with it.
func TestCancelIsNotHeeded(t *testing.T) {
	st := newStage(t, "act", func(c *program.Config) { c.Grace = 50 * time.Millisecond })
	s := st.open()
	if err := cancelOnceBegun(t, s, "hang"); !errors.Is(err, session.ErrWorkerDied) && !errors.Is(err, session.ErrCancelled) {
		t.Errorf("it ended with %v", err)
	}
	eventually(t, "the session is over", func() bool { return s.Err() != nil })
	if err := s.Err(); !errors.Is(err, session.ErrWorkerDied) || !strings.Contains(err.Error(), "call 1 was cancelled") {
		t.Errorf("the session ended with %v", err)
	}
	nobody(t, s.ID())
}

// cancelOnceBegun makes a call that says when it has begun, cancels it then, and
// returns how it ended.
func cancelOnceBegun(t *testing.T, s *client.Session, method string) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	call := s.Go(ctx, method, nil)
	for _, err := range client.Progress[string](call) {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	cancel()
	return call.Wait(nil)
}

// A call that hangs is told as such, and its child killed: its slot serves the
// next.
func TestHungChild(t *testing.T) {
	st := newStage(t, "act", func(c *program.Config) { c.Slots, c.Budget, c.Grace = 1, 1500*time.Millisecond, 50*time.Millisecond })
	s := st.open()
	if _, err := call[any](t, s, "hang", nil); !errors.Is(err, session.ErrWorkerHung) || !errors.Is(err, session.Unknown) {
		t.Errorf("it ended with %v, want worker hung, unknown", err)
	}
	nobody(t, s.ID())
	if n := must[int](t, st.open(), "add", 2); n != 2 {
		t.Errorf("the next session counts to %d", n)
	}
}

// What a child does wrong, and how its session ends.
func TestBadChildren(t *testing.T) {
	st := newStage(t, "act", func(c *program.Config) {
		c.MaxLine, c.Grace = 1<<20, 2*time.Second // which passes where one closes its stdout and goes on
	})
	for _, test := range []struct {
		method string
		arg    any
		says   []string
	}{
		{"die", nil, []string{"exit status 3", "its last lines on stderr: noise", "Traceback:\n  out of rum"}},
		{"shot", nil, []string{"ended, signal: killed"}},
		{"line", "Welcome!", []string{"signal: killed", "a line on its stdout is no JSON-RPC message", `"Welcome!"`}},
		{"line", `"text"`, []string{"is no JSON-RPC message"}},
		{"line", "", []string{"is no JSON-RPC message"}},
		{"line", `{"id":1,"result":1}`, []string{`lacks "jsonrpc":"2.0"`}},
		{"line", `{"jsonrpc":"2.0","result":1}`, []string{"neither a method nor an id"}},
		{"line", `{"jsonrpc":"2.0","id":1}`, []string{"not exactly one of result and error"}},
		{"line", `{"jsonrpc":"2.0","id":1,"result":1,"error":{"code":1,"message":""}}`, []string{"not exactly one of result and error"}},
		{"line", `{"jsonrpc":"2.0","id":null,"result":1}`, []string{"answers request null, and 1 is open"}},
		{"line", strings.Repeat("[", 20_000), []string{"is a batch"}},
		{"line", `{"a":` + strings.Repeat("[", 20_000), []string{"is no JSON-RPC message", "exceeded max depth"}},
		{"batch", nil, []string{"is a batch, want one message a line"}},
		{"half", "exit", []string{"exit status 4", "its stdout ended within a line", `"res`}},
		{"long", nil, []string{"a line of more than 1048576 bytes"}},
		{"close", nil, []string{"it closed its stdout and went on"}},
		{"wrong", nil, []string{"answers request 91, and 1 is open"}},
		{"string", nil, []string{`answers request "1", and 1 is open`}},
		{"flood", nil, []string{"messages unread on its stdin"}},
		{"fork", "exit", []string{"exit status 5"}},
	} {
		t.Run(test.method, func(t *testing.T) {
			s := st.open()
			_, err := call[any](t, s, test.method, test.arg)
			died(t, s, err, session.Unknown, test.says...)
		})
	}
	s := st.open()
	if got := must[int](t, s, "add", 1); got != 1 {
		t.Errorf("the next session counts to %d", got)
	}
}

// Half a line and then nothing is a call that takes too long.
func TestHalfALine(t *testing.T) {
	st := newStage(t, "act", func(c *program.Config) { c.Grace = 50 * time.Millisecond })
	s := st.open()
	if err := cancelOnceBegun(t, s, "half"); err == nil {
		t.Error("half a line was an answer")
	}
	eventually(t, "the session is over", func() bool { return errors.Is(s.Err(), session.ErrWorkerDied) })
	nobody(t, s.ID())
}

// An answer too many ends the session when it comes: with the call that it
// follows, or after it.
func TestAnswersTwice(t *testing.T) {
	st := newStage(t, "act", nil)
	s := st.open()
	if n, err := call[int](t, s, "twice", nil); err == nil && n != 1 {
		t.Errorf("the second answer %d counted", n)
	}
	eventually(t, "the session is over", func() bool { return s.Err() != nil })
	if err := s.Err(); !errors.Is(err, session.ErrWorkerDied) || !strings.Contains(err.Error(), "answers") {
		t.Errorf("the session ended with %v", err)
	}
	nobody(t, s.ID())
}

// A line of 100 MB costs about as much as the longest that is allowed.
func TestLongLinesAreNotHeld(t *testing.T) {
	st := newStage(t, "act", func(c *program.Config) { c.MaxLine = 1 << 20 })
	s := st.open()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := call[any](t, s, "long", nil)
	runtime.ReadMemStats(&after)
	died(t, s, err, session.Unknown, "a line of more than 1048576 bytes")
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<20 {
		t.Errorf("%d bytes were allocated", grown)
	}
}

// An argument that is too long for a line is refused before it is sent.
func TestLongArgument(t *testing.T) {
	st := newStage(t, "act", func(c *program.Config) { c.MaxLine = 1 << 20 })
	s := st.open()
	_, err := call[any](t, s, "params", strings.Repeat("x", 1<<20))
	if !errors.Is(err, session.ErrBadArgument) || !errors.Is(err, session.NotRun) {
		t.Errorf("it ended with %v, want bad argument, not run", err)
	}
	if got := must[[]string](t, s, "params", strings.Repeat("x", 1<<20-100)); len(got[0]) != 1<<20-100 {
		t.Errorf("%d bytes came back", len(got[0]))
	}
}

// A child that ends between two calls ends its session then.
func TestDiesBetweenCalls(t *testing.T) {
	st := newStage(t, "act", nil)
	s := st.open()
	must[any](t, s, "later", nil)
	eventually(t, "the session is over", func() bool { return s.Err() != nil })
	if err := s.Err(); !errors.Is(err, session.ErrWorkerDied) || !strings.Contains(err.Error(), "exit status 6; its last lines on stderr: bored") {
		t.Errorf("the session ended with %v", err)
	}
	if _, err := call[int](t, s, "add", 1); !errors.Is(err, session.ErrWorkerDied) || !errors.Is(err, session.NotRun) {
		t.Errorf("a later call: %v, want worker died, not run", err)
	}
}

func TestOpenRefused(t *testing.T) {
	for how, parts := range map[string][]string{
		"exit":    {"exit status 7", "no such module: rum\ngiving up"},
		"garbage": {"a line on its stdout is no JSON-RPC message", "Welcome to the program"},
	} {
		st := newStage(t, how, nil)
		_, err := st.tryOpen()
		if !errors.Is(err, session.ErrOpenFailed) {
			t.Errorf("%s: open ended with %v, want open failed", how, err)
			continue
		}
		for _, part := range parts {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: the error lacks %q: %v", how, part, err)
			}
		}
	}
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte("not a program"), 0o700); err != nil {
		t.Fatal(err)
	}
	st := newStage(t, "act", func(c *program.Config) { c.Command = []string{script} })
	if _, err := st.tryOpen(); !errors.Is(err, session.ErrOpenFailed) || !strings.Contains(err.Error(), "exec format error") {
		t.Errorf("open ended with %v", err)
	}
}

// A child that never says that it is ready is taken at its silence.
func TestMuteChild(t *testing.T) {
	st := newStage(t, "mute", func(c *program.Config) { c.Settle = time.Millisecond })
	if n := must[int](t, st.open(), "add", 3); n != 3 {
		t.Errorf("total %d, want 3", n)
	}
}

// Close takes a child along that heeds neither the end of its stdin nor
// SIGTERM, and whatever it has started.
func TestStubbornChildren(t *testing.T) {
	st := newStage(t, "stubborn", func(c *program.Config) { c.Grace = 50 * time.Millisecond })
	s := st.open()
	grandchild := must[int](t, s, "fork", nil)
	closeSession(t, s)
	nobody(t, s.ID())
	if _, err := os.Stat("/proc/" + strconv.Itoa(grandchild)); err == nil {
		state, _ := os.ReadFile("/proc/" + strconv.Itoa(grandchild) + "/stat")
		if !strings.Contains(string(state), ") Z ") {
			t.Errorf("the grandchild is left: %s", state)
		}
	}
	if log := st.log.String(); !strings.Contains(log, "killed: it ignored") || !strings.Contains(log, s.ID().String()) {
		t.Errorf("the log does not tell:\n%s", log)
	}
}

// The notification before the end, for a child that wants to know of it.
func TestCloseMethod(t *testing.T) {
	st := newStage(t, "act", func(c *program.Config) { c.CloseMethod, c.Grace = "bye", long })
	s := st.open()
	must[int](t, s, "add", 7)
	closeSession(t, s)
	eventually(t, "it says good-bye", func() bool { return strings.Contains(st.log.String(), "good-bye, with a total of 7") })
	nobody(t, s.ID())
	if log := st.log.String(); strings.Contains(log, "msg=died") {
		t.Errorf("an end that was asked for is logged as a death:\n%s", log)
	}
}

// A child's stderr goes to the log, bounded.
func TestLog(t *testing.T) {
	st := newStage(t, "act", nil)
	s := st.open()
	_, err := call[any](t, s, "die", nil)
	died(t, s, err, session.Unknown)
	log := st.log.String()
	if n := strings.Count(log, "line=noise"); n == 0 || n >= 10_000 { // so many a second
		t.Errorf("%d of 10000 lines are in the log", n)
	}
	for _, part := range []string{"skipped=", "session=" + s.ID().String(), "pool=play", "process="} {
		if !strings.Contains(log, part) {
			t.Errorf("the log lacks %q", part)
		}
	}
}

func TestWrongConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]program.Config{
		"no program given": {},
		"not found":        {Command: []string{"limpet-no-such-program"}},
		"no such file":     {Command: []string{"/no/such/program"}},
		"permission":       {Command: []string{file}},
		"folder":           {Command: []string{"sh"}, Dir: "/no/such/folder"},
		"not a folder":     {Command: []string{"sh"}, Dir: file},
		"want key=value":   {Command: []string{"sh"}, Env: []string{"PATH"}},
	} {
		c.Pool = "play"
		if _, err := program.NewPool(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}
