package tcl

import (
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// onThread makes an interpreter on the test's goroutine, which stays on its thread
// for the rest of the test and takes the thread with it when it ends.
func onThread(t *testing.T) *Interp {
	t.Helper()
	runtime.LockOSThread()
	i := New()
	if i == nil {
		t.Fatal("libtcl made no safe interpreter")
	}
	t.Cleanup(i.Close)
	return i
}

func TestEval(t *testing.T) {
	cases := []struct{ name, script, want string }{
		{"nothing", "", ""},
		{"arithmetic", "expr {6 * 7}", "42"},
		{"procedure", "proc double n {expr {$n * 2}}; double 21", "42"},
		{"return", "return early; error late", "early"},
		{"unicode", "string toupper grösse", "GRÖSSE"},
		{"beyond the basic plane", "set a {🐚 on the rock}", "🐚 on the rock"},
		{"nul", "set a \"a\x00b\"", "a\x00b"},
		{"big number", "expr {2**100}", "1267650600228229401496703205376"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			i := onThread(t)
			got, err := i.Eval(c.script)
			if err != nil || got != c.want {
				t.Errorf("Eval(%q) = %q, %v; want %q", c.script, got, err, c.want)
			}
		})
	}
}

func TestVariables(t *testing.T) {
	i := onThread(t)
	for name, value := range map[string]string{
		"x": "3", "empty": "", "a(b c)": "an element", "ü": "ö", "code": "[exit] $x ; }", "nul": "\x00",
	} {
		if err := i.SetVar(name, value); err != nil {
			t.Fatalf("SetVar(%q): %v", name, err)
		}
		if got, err := i.GetVar(name); err != nil || got != value {
			t.Errorf("GetVar(%q) = %q, %v; want %q", name, got, err, value)
		}
	}
	if got, err := i.Eval("incr x 4"); err != nil || got != "7" {
		t.Errorf("incr x 4 = %q, %v; want 7", got, err)
	}
	if _, err := i.GetVar("absent"); err == nil || !strings.Contains(err.Error(), `can't read "absent": no such variable`) {
		t.Errorf("GetVar of a variable that does not exist: %v", err)
	}
	if err := i.SetVar("x(1)", "2"); err == nil || !strings.Contains(err.Error(), "variable isn't array") {
		t.Errorf("SetVar of an element of a plain variable: %v", err)
	}
}

func TestErrorCarriesErrorInfo(t *testing.T) {
	i := onThread(t)
	_, err := i.Eval("proc fails {} {error {on purpose}}\nfails")
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("Eval = %v; want an *Error", err)
	}
	if e.Message != "on purpose" || !strings.Contains(e.Info, `(procedure "fails" line 1)`) || e.Limit {
		t.Errorf("error = %+v", e)
	}
	if errors.Is(err, ErrLimit) {
		t.Error("a script's own error is taken for a limit")
	}
	if got, err := i.Eval("set after fine"); err != nil || got != "fine" {
		t.Errorf("after an error Eval = %q, %v", got, err)
	}
}

// TestSafe tries what a script of a stranger would try.
func TestSafe(t *testing.T) {
	for _, script := range []string{
		"exec ls", "open /etc/passwd", "socket localhost 80", "source /etc/passwd", "load /lib/x.so",
		"exit", "cd /", "pwd", "glob *", "file exists /etc/passwd", "puts hello", "fconfigure stdout",
		"interp create", "interp invokehidden {} exec ls", "interp limit {} time -seconds {}",
		"set env(PATH)", "encoding system utf-8", "vwait", "unload x",
	} {
		t.Run(script, func(t *testing.T) {
			i := onThread(t)
			if got, err := i.Eval(script); err == nil {
				t.Errorf("%s = %q; want an error", script, got)
			}
		})
	}
}

// TestTimeLimit gives every script a way of its own to go on for ever. That it
// returns at all is the test.
func TestTimeLimit(t *testing.T) {
	for name, script := range map[string]string{
		"loop":      "while 1 {}",
		"catch":     "while 1 {catch {while 1 {}}}",
		"try":       "while 1 {try {while 1 {}} on error {} {} finally {while 1 {}}}",
		"recursion": "proc f {} {while 1 {catch f}}; f",
		"event":     "vwait for-ever",
		"timer":     "proc again {} {after 1 again}; again; vwait for-ever",
		"sleep":     "after 100000000",
		"coroutine": "coroutine c apply {{} {yield; while 1 yield}}; while 1 c",
		"rename":    "proc unknown args {while 1 {}}; rename if {}; if 1",
	} {
		t.Run(name, func(t *testing.T) {
			i := onThread(t)
			i.LimitTime(20 * time.Millisecond)
			if _, err := i.Eval(script); !errors.Is(err, ErrLimit) {
				t.Fatalf("Eval(%q) = %v; want ErrLimit", script, err)
			}
			i.LimitTime(time.Minute)
			if got, err := i.Eval("set after fine"); err != nil || got != "fine" {
				t.Errorf("after the limit Eval = %q, %v; want fine", got, err)
			}
		})
	}
}

func TestTimeLimitHoldsForTraces(t *testing.T) {
	i := onThread(t)
	i.LimitTime(20 * time.Millisecond)
	if _, err := i.Eval("set x 1; trace add variable x {read write} {apply {args {while 1 {}}}}"); err != nil {
		t.Fatal(err)
	}
	if err := i.SetVar("x", "2"); !errors.Is(err, ErrLimit) {
		t.Errorf("SetVar = %v; want ErrLimit", err)
	}
	if _, err := i.GetVar("x"); !errors.Is(err, ErrLimit) {
		t.Errorf("GetVar = %v; want ErrLimit", err)
	}
}

func TestCommandLimit(t *testing.T) {
	i := onThread(t)
	i.LimitTime(time.Minute)
	i.LimitCommands(1000)
	if got, err := i.Eval("set x 1"); err != nil || got != "1" {
		t.Fatalf("Eval within the limit = %q, %v", got, err)
	}
	if _, err := i.Eval("while 1 {incr x}"); !errors.Is(err, ErrLimit) {
		t.Fatalf("Eval = %v; want ErrLimit", err)
	}
	if _, err := i.Eval("set x 1"); !errors.Is(err, ErrLimit) {
		t.Errorf("Eval past the limit = %v; want ErrLimit", err)
	}
}

// TestInterpretersAreApart runs one interpreter on each of many threads at once,
// several in turn on each.
func TestInterpretersAreApart(t *testing.T) {
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			runtime.LockOSThread()
			for range 5 {
				i := New()
				for n := range 20 {
					want := strings.Repeat("i", n+1)
					if got, err := i.Eval("append marks i"); err != nil || got != want {
						t.Errorf("append marks i = %q, %v; want %q", got, err, want)
					}
				}
				i.Close()
			}
		})
	}
	all.Wait()
}

func TestCloseTwice(t *testing.T) {
	i, beside := onThread(t), onThread(t)
	i.Close()
	i.Close()
	if got, err := beside.Eval("set still fine"); err != nil || got != "fine" {
		t.Errorf("the other interpreter on the thread: %q, %v", got, err)
	}
}
