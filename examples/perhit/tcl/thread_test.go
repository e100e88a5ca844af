package tcl

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// use is the environment variable that turns this test binary into the process
// which uses an interpreter from a foreign thread, and does not survive it.
const use = "PERHIT_TCL_FOREIGN_USE"

func TestMain(m *testing.M) {
	if how := os.Getenv(use); how != "" {
		foreignUse(how)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// foreignUse makes an interpreter on one locked thread and uses it on another,
// while the first one still exists.
func foreignUse(how string) {
	made, done := make(chan *Interp), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		made <- New()
		<-done
	}()
	i := <-made
	go func() {
		defer close(done)
		runtime.LockOSThread()
		switch how {
		case "eval":
			_, _ = i.Eval("set x 1")
		case "set":
			_ = i.SetVar("x", "1")
		case "get":
			_, _ = i.GetVar("tcl_version")
		case "close":
			i.Close()
		}
	}()
	<-done
}

// TestForeignThreadAborts is why this example needs Limpet: a library that is used
// from the wrong thread takes its process with it.
func TestForeignThreadAborts(t *testing.T) {
	for how, text := range map[string]string{
		"eval":  "used on another thread",
		"set":   "used on another thread",
		"get":   "used on another thread",
		"close": "wrong thread", // libtcl's own words
	} {
		t.Run(how, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), use+"="+how)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			if !errors.As(err, &exit) {
				t.Fatalf("the process survived: %v\n%s", err, out)
			}
			for _, want := range []string{text, "SIGABRT"} {
				if !strings.Contains(string(out), want) {
					t.Errorf("the process ended with %v and did not say %q:\n%s", exit, want, out)
				}
			}
		})
	}
}
