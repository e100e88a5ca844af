package childproc

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// parentVariable makes the test binary a parent that starts a child, which says
// its process id and its own child's. Its value is whether there is a guard.
const parentVariable = "LIMPET_TEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parentVariable) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	r, w, _ := os.Pipe()
	child := exec.Command("sh", "-c", "sleep 1000 & echo $$ $!; wait")
	child.Stdout = w
	if _, err := Start(child); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if os.Getenv(parentVariable) == "unguarded" {
		theLauncher.guard.end()
	}
	_, _ = io.Copy(os.Stdout, r)
}

// long bounds what must happen sooner or later.
const long = 2 * time.Minute

// alive tells whether a process exists and is no zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	after := stat[bytes.LastIndexByte(stat, ')')+1:]
	return !bytes.HasPrefix(after, []byte(" Z")) && !bytes.HasPrefix(after, []byte(" X"))
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(long); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

// started starts a shell that says one line, and returns that line as numbers.
func started(t *testing.T, script string) (*Child, []int) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("sh", "-c", script)
	cmd.Stdout = w
	c, err := Start(cmd)
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var numbers []int
	for word := range strings.FieldsSeq(line) {
		n, err := strconv.Atoi(word)
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	return c, numbers
}

func ended(t *testing.T, c *Child) {
	t.Helper()
	select {
	case <-c.Ended():
	case <-time.After(long):
		t.Fatal("it does not end")
	}
}

// What a child has started goes with it, and it goes before its number does.
func TestGroupGoesWithItsLeader(t *testing.T) {
	c, pids := started(t, "sleep 1000 & sleep 1000 & echo $$ $! $(cut -d' ' -f5 /proc/$$/stat); exit 3")
	ended(t, c)
	if pids[0] != c.PID() || pids[2] != c.PID() {
		t.Errorf("process %d leads group %d, want %d", pids[0], pids[2], c.PID())
	}
	if err := syscall.Kill(c.PID(), 0); err != nil {
		t.Errorf("it left the process table before it was waited for: %v", err)
	}
	if !alive(pids[1]) {
		t.Error("the grandchild ended by itself: the test shows nothing")
	}
	err := c.Wait()
	if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != 3 || c.State().ExitCode() != 3 {
		t.Errorf("ended with %v", err)
	}
	eventually(t, "the grandchild is gone", func() bool { return !alive(pids[1]) })
	if err := syscall.Kill(c.PID(), 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("it is still in the process table: %v", err)
	}
	if err := errors.Join(c.Signal(syscall.SIGKILL), c.SignalGroup(syscall.SIGKILL)); err != nil {
		t.Errorf("a signal for one that is gone: %v", err)
	}
	if again := c.Wait(); !errors.Is(again, err) {
		t.Errorf("waited for again: %v", again)
	}
}

func TestSignals(t *testing.T) {
	c, pids := started(t, "trap : TERM; sleep 1000 & echo $!; while :; do sleep 1; done")
	eventually(t, "the grandchild gets it", func() bool { // again and again: the shell may not have become sleep yet
		if err := c.SignalGroup(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		return !alive(pids[0])
	})
	if err := c.Signal(syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	ended(t, c)
	_ = c.Wait()
	if s := c.State().Sys().(syscall.WaitStatus); s.Signal() != syscall.SIGKILL {
		t.Errorf("ended by %v", s.Signal())
	}
}

// The parent's end by SIGKILL is its child's, by the kernel alone, and with the
// guard it is its grandchild's.
func TestNobodyOutlivesTheParent(t *testing.T) {
	for _, how := range []string{"guarded", "unguarded"} {
		for range 5 {
			parent := exec.Command(os.Args[0])
			parent.Env = append(os.Environ(), parentVariable+"="+how)
			out, err := parent.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := parent.Start(); err != nil {
				t.Fatal(err)
			}
			var child, grandchild int
			if _, err := fmt.Fscan(out, &child, &grandchild); err != nil {
				t.Fatal(err)
			}
			if !alive(child) || !alive(grandchild) {
				t.Error("a child is gone before its parent")
			}
			_ = parent.Process.Kill()
			eventually(t, "the child is gone", func() bool { return !alive(child) })
			if how == "unguarded" {
				_ = syscall.Kill(grandchild, syscall.SIGKILL) // as nobody else does
			}
			eventually(t, "the grandchild is gone", func() bool { return !alive(grandchild) })
			_ = parent.Wait()
		}
	}
}

// A guard that was killed is replaced with the next start, and knows of those
// that were there before.
func TestGuardIsReplaced(t *testing.T) {
	first, _ := started(t, "sleep 1000 & echo $!; wait")
	guard := func() *guard {
		theLauncher.mu.Lock()
		defer theLauncher.mu.Unlock()
		return theLauncher.guard
	}
	before := guard()
	_ = before.cmd.Process.Kill()
	eventually(t, "the guard is gone", func() bool { return !alive(before.cmd.Process.Pid) })
	second, pids := started(t, "sleep 1000 & echo $!; wait")
	if guard() == before {
		t.Fatal("the guard was not replaced")
	}
	_ = guard().to.Close() // as if this process were dead
	ended(t, first)
	ended(t, second)
	eventually(t, "the grandchild is gone", func() bool { return !alive(pids[0]) })
	_ = first.Wait()
	_ = second.Wait()
	if guard() != nil {
		t.Error("there is a guard and nothing to guard")
	}
}

func TestStartFails(t *testing.T) {
	if _, err := Start(exec.Command("/nowhere/at/all")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("started with %v", err)
	}
}

// Children take no thread each.
func TestChildrenTakeNoThreads(t *testing.T) {
	var all []*Child
	for range 100 {
		c, err := Start(exec.Command("sleep", "1000"))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if tasks, err := os.ReadDir("/proc/self/task"); err == nil && len(tasks) > 50 {
		t.Errorf("%d threads for %d children", len(tasks), len(all))
	}
	for _, c := range all {
		_ = c.SignalGroup(syscall.SIGKILL)
		_ = c.Wait()
	}
}
