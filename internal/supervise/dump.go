package supervise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a dump may take: Go's own, and that of a native tool,
// which is asked where Go does not answer.
type patience struct{ runtime, native time.Duration }

// A process whose loop stands keeps callers waiting, so that it is looked at
// only for as long as they can bear; one that is drained keeps nobody.
var (
	hurried   = patience{300 * time.Millisecond, 150 * time.Millisecond}
	unhurried = patience{3 * time.Second, 10 * time.Second}
)

// NoDebugger, in the place of a debugger's name, is none.
const NoDebugger = "off"

const (
	threadsMost = 64 // threads that a snapshot lists
	quietFor    = 50 * time.Millisecond
)

// examine looks at a process from outside: its threads as the kernel sees them,
// then the stacks of all its goroutines if the Go runtime in it still answers,
// else, as of one that is stopped, the stacks that a native tool finds. It ends the process in doing so, or
// leaves it to be killed.
func (p *process) examine(limit patience) string {
	var d strings.Builder
	state := snapshot(&d, p.child.PID())
	stacks := ""
	switch state {
	case 'T', 't': // it must not be continued: it would answer, and run what it had not started
		d.WriteString("it is stopped, so its Go runtime cannot answer: goroutines that wait are not shown\n")
		d.WriteString(p.askDebugger(limit.runtime + limit.native))
	default:
		if stacks = p.askRuntime(limit.runtime); stacks == "" {
			fmt.Fprintf(&d, "its Go runtime did not answer SIGQUIT within %s\n", limit.runtime)
			d.WriteString(p.askDebugger(limit.native))
		}
	}
	p.stderr.quote(d.String()) // the runtime's stacks have been there already
	return cut(d.String()+"\n"+stacks, dumpMost)
}

// askRuntime sends SIGQUIT, upon which a Go program writes all its goroutines
// to its standard error and ends. No core is written.
func (p *process) askRuntime(limit time.Duration) string {
	p.stderr.catch()
	_ = unix.Prlimit(p.child.PID(), unix.RLIMIT_CORE, &unix.Rlimit{}, nil) // at worst there is a core
	if err := p.child.Signal(syscall.SIGQUIT); err != nil {
		return ""
	}
	over := time.NewTimer(limit)
	defer over.Stop()
	look := time.NewTicker(quietFor / 5)
	defer look.Stop()
	for {
		select {
		case <-p.child.Ended():
			select { // what it wrote is in the pipe
			case <-p.stderr.done:
			case <-over.C:
			}
		case <-over.C:
		case now := <-look.C:
			text, written := p.stderr.text()
			if !strings.Contains(text, "goroutine ") || now.Sub(written) < limit/2 {
				continue
			}
		}
		text, _ := p.stderr.text()
		if !strings.Contains(text, "goroutine ") {
			return ""
		}
		return text
	}
}

// snapshot writes what /proc says of a process and its threads, and returns the
// state of the first.
func snapshot(d *strings.Builder, pid int) (state byte) {
	root := "/proc/" + strconv.Itoa(pid)
	state = stateOf(root)
	fmt.Fprintf(d, "process %d, state %c; its threads by /proc, and the Go functions found on their stacks:\n", pid, state)
	bias := biasOf(pid)
	tasks, _ := filepath.Glob(root + "/task/*") // the pattern is well formed
	for i, task := range tasks {
		if i == threadsMost {
			fmt.Fprintf(d, "  and %d more threads\n", len(tasks)-i)
			break
		}
		fmt.Fprintf(d, "  thread %s %c wchan %s syscall %s", filepath.Base(task), stateOf(task), line(task+"/wchan"), line(task+"/syscall"))
		if stack := line(task + "/stack"); stack != "-" {
			fmt.Fprintf(d, " stack %s", stack)
		}
		d.WriteByte('\n')
		for _, frame := range likelyFrames(pid, task, bias) {
			fmt.Fprintf(d, "    %s\n", frame)
		}
	}
	return state
}

// stateOf is a process's or thread's state letter, '?' where it is not known.
func stateOf(dir string) byte {
	b, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return '?'
	}
	if i := bytes.LastIndexByte(b, ')'); i >= 0 && i+2 < len(b) {
		return b[i+2]
	}
	return '?'
}

// line is a small file of /proc on one line, "-" where it may not be read.
func line(path string) string {
	b, err := os.ReadFile(path)
	if err != nil || len(bytes.TrimSpace(b)) == 0 {
		return "-"
	}
	return cut(strings.Join(strings.Fields(string(b)), " "), 512)
}

// askDebugger has a debugger look at the process. One that does not come to an
// end is left to the end of the process, which is its own.
func (p *process) askDebugger(limit time.Duration) string {
	found := make(chan string, 1)
	p.looks.Go(func() { found <- nativeStacks(p.child.PID(), p.debugger, limit) })
	over := time.NewTimer(limit + quietFor)
	defer over.Stop()
	select {
	case stacks := <-found:
		return stacks
	case <-over.C:
		return fmt.Sprintf("no native stacks: the debugger was not done within %s\n", limit)
	}
}

// nativeStacks asks a debugger: the one named, or eu-stack or gdb, whichever is
// installed.
func nativeStacks(pid int, debugger string, limit time.Duration) string {
	look, err := debuggerFor(pid, debugger)
	if err != nil {
		return "no native stacks: " + err.Error() + "\n"
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, look[0], look[1:]...)
	cmd.Env = append(os.Environ(), "DEBUGINFOD_URLS=", "LC_ALL=C")
	cmd.WaitDelay = quietFor
	out, err := cmd.Output()
	if ctx.Err() != nil {
		err = fmt.Errorf("not done within %s", limit)
	} else if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, cut(string(bytes.TrimSpace(exit.Stderr)), 512))
	}
	text := "stacks of its threads, by " + look[0] + ":\n" + string(out)
	if err != nil {
		text += fmt.Sprintf("\n(%s: %v)\n", look[0], err)
	}
	return text
}

// debuggerFor is the command that writes the stacks of all threads.
func debuggerFor(pid int, debugger string) ([]string, error) {
	id := strconv.Itoa(pid)
	names := []string{"eu-stack", "gdb"}
	switch debugger {
	case "":
	case NoDebugger:
		return nil, errors.New("no debugger is to be used")
	default:
		names = []string{debugger}
	}
	for _, name := range names {
		switch _, err := exec.LookPath(name); {
		case err != nil:
		case strings.HasSuffix(name, "gdb"):
			return []string{
				name, "-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex", "set auto-load no",
				"-iex", "set debug-file-directory /nonexistent", "-iex", "set libthread-db-search-path /nonexistent", "-iex", "set pagination off",
				"/proc/" + id + "/exe", "-ex", "attach " + id, "-ex", "thread apply all bt 30",
			}, nil
		default:
			return []string{name, "-p", id, "-n", "30"}, nil
		}
	}
	return nil, fmt.Errorf("%s is not installed", strings.Join(names, " or "))
}

// cut shortens a text, and says so.
func cut(s string, most int) string {
	const mark = " … (cut)"
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-len(mark)], "") + mark
}
