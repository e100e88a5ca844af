package pool

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/worker"

	"github.com/limpet-rpc/limpet/examples/perhit/calls"
	"github.com/limpet-rpc/limpet/examples/perhit/tcl"
)

// session is what a pool with LockThread gives to its handlers: a goroutine that
// stays on its thread, and the state that was made there.
func session(t *testing.T, o Options) *Interpreter {
	t.Helper()
	runtime.LockOSThread()
	i, err := NewInterpreter(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.Close)
	return i
}

func TestSetEvalCollect(t *testing.T) {
	i := session(t, Options{Time: time.Minute, Commands: 1000})
	ctx := t.Context()
	placed, err := set(ctx, i, calls.Variable{Name: "x", Value: "3"})
	if err != nil {
		t.Fatal(err)
	}
	if want := (calls.Place{PID: os.Getpid(), Thread: worker.ThreadID()}); placed != want {
		t.Errorf("set ran at %+v; want %+v", placed, want)
	}
	if _, err := eval(ctx, i, calls.Script{Script: "set y [expr {$x * 14}]"}); err != nil {
		t.Fatal(err)
	}
	got, err := collect(ctx, i, calls.Names{})
	if err != nil || got.Values["result"] != "42" || got.Calls != 3 || got.Place != placed {
		t.Errorf("collect = %+v, %v", got, err)
	}
	got, err = collect(ctx, i, calls.Names{Names: []string{"x", "y"}})
	if err != nil || got.Values["x"] != "3" || got.Values["y"] != "42" || got.Calls != 4 {
		t.Errorf("collect x y = %+v, %v", got, err)
	}
}

func TestErrorsNameWhatWasWrong(t *testing.T) {
	i := session(t, Options{Time: time.Minute, Commands: 1000})
	ctx := t.Context()
	if _, err := collect(ctx, i, calls.Names{}); err == nil || !strings.Contains(err.Error(), `collect "result"`) {
		t.Errorf("collect before eval: %v", err)
	}
	if _, err := eval(ctx, i, calls.Script{Script: "error {on purpose}"}); err == nil || !strings.Contains(err.Error(), "on purpose") {
		t.Errorf("a script that fails: %v", err)
	}
	if _, err := eval(ctx, i, calls.Script{Script: "array set result {a b}"}); err == nil || !strings.Contains(err.Error(), "keep the value") {
		t.Errorf("a script that makes result an array: %v", err)
	}
	if _, err := set(ctx, i, calls.Variable{Name: "result", Value: "1"}); err == nil || !strings.Contains(err.Error(), `set "result"`) {
		t.Errorf("set of an array as a whole: %v", err)
	}
}

func TestLimits(t *testing.T) {
	t.Run("of the pool", func(t *testing.T) {
		i := session(t, Options{Time: 20 * time.Millisecond, Commands: 1 << 30})
		if _, err := eval(t.Context(), i, calls.Script{Script: "while 1 {}"}); !errors.Is(err, tcl.ErrLimit) {
			t.Errorf("eval = %v; want ErrLimit", err)
		}
	})
	t.Run("of the call", func(t *testing.T) {
		i := session(t, Options{Time: time.Hour, Commands: 1 << 30})
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if _, err := eval(ctx, i, calls.Script{Script: "while 1 {}"}); !errors.Is(err, tcl.ErrLimit) {
			t.Errorf("eval = %v; want ErrLimit", err)
		}
	})
	t.Run("of the session", func(t *testing.T) {
		i := session(t, Options{Time: time.Hour, Commands: 100})
		if _, err := eval(t.Context(), i, calls.Script{Script: "while 1 {incr x}"}); !errors.Is(err, tcl.ErrLimit) {
			t.Errorf("eval = %v; want ErrLimit", err)
		}
	})
}

func TestNew(t *testing.T) {
	if New(Options{Slots: 1, Time: time.Second, Commands: 1000}) == nil {
		t.Fatal("no pool")
	}
}
