package worker

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// nativeTime bounds a look at a native stack. It is measured from outside: gdb
// stops this whole process while it looks.
const nativeTime = 700 * time.Millisecond

// noDebugger is Options.Debugger for none.
const noDebugger = "off"

// nativeStack is where a thread of this process is inside C, as far as the
// machine allows: the system call by /proc, the frames by eu-stack or gdb. What
// cannot be had is said. It blocks for about a second at most.
func nativeStack(thread int, debugger string) string {
	at := systemCall(thread)
	frames, err := frames(thread, debugger)
	if err != nil {
		return at + "; no native frames: " + err.Error()
	}
	return at + "\n" + frames
}

// systemCall says in which system call a thread is, and what called that.
func systemCall(thread int) string {
	dir := fmt.Sprintf("/proc/self/task/%d/", thread)
	call, err := os.ReadFile(dir + "syscall")
	if err != nil {
		return fmt.Sprintf("thread %d: %v", thread, err)
	}
	words := strings.Fields(string(call))
	if len(words) < 3 {
		return fmt.Sprintf("thread %d is running", thread)
	}
	at := fmt.Sprintf("thread %d is in system call %s", thread, words[0])
	if where, err := os.ReadFile(dir + "wchan"); err == nil && len(where) > 1 {
		at += fmt.Sprintf(" (%s)", where)
	}
	if pc, err := strconv.ParseUint(words[len(words)-1], 0, 64); err == nil {
		at += " of " + mapped(pc)
	}
	return at
}

// mapped names the file that an address of this process is of, and the offset
// in it.
func mapped(pc uint64) string {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Sprintf("%#x", pc)
	}
	for line := range strings.Lines(string(maps)) {
		var from, to, offset uint64
		var mode, device, inode, file string
		if n, _ := fmt.Sscanf(line, "%x-%x %s %x %s %s %s", &from, &to, &mode, &offset, &device, &inode, &file); n == 7 && from <= pc && pc < to {
			return fmt.Sprintf("%s+%#x", file, pc-from+offset)
		}
	}
	return fmt.Sprintf("%#x", pc)
}

// guarded runs a debugger under a time limit of its own, for this process may
// stand while it works. Only SIGKILL is safe: asked to end, gdb kills what it
// has not yet attached to; killed, it lets go, and whoever stands is continued.
const guarded = `pid=$1; seconds=$2; shift 2; timeout -s KILL "$seconds" "$@"; status=$?; kill -s CONT "$pid"; exit $status`

// killed is the exit status of timeout where the time was over.
const killed = 128 + 9

func frames(thread int, debugger string) (string, error) {
	look, err := debuggerFor(thread, debugger)
	if err != nil {
		return "", err
	}
	for _, tool := range []string{"sh", "timeout"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("the program %s is not installed", tool)
		}
	}
	// Where Yama is in force, children may look at this process only if it says so.
	if unix.Prctl(unix.PR_SET_PTRACER, uintptr(os.Getpid()), 0, 0, 0) == nil {
		defer func() { _ = unix.Prctl(unix.PR_SET_PTRACER, 0, 0, 0, 0) }() // as it was
	}
	ctx, cancel := context.WithTimeout(context.Background(), nativeTime+3*time.Second)
	defer cancel()
	args := append([]string{"-c", guarded, "sh", strconv.Itoa(os.Getpid()), fmt.Sprint(nativeTime.Seconds())}, look...)
	cmd := exec.CommandContext(ctx, "sh", args...)
	cmd.Env = append(os.Environ(), "DEBUGINFOD_URLS=", "LC_ALL=C")
	var out bytes.Buffer
	cmd.Stdout = &out
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	lines := nativeFrames(out.String())
	switch exit := cmd.ProcessState; {
	case lines != "":
		return lines, nil
	case exit != nil && exit.ExitCode() == killed:
		return "", fmt.Errorf("%s was not ready within %s", look[0], nativeTime)
	case err != nil:
		return "", fmt.Errorf("%s: %w", look[0], err)
	default:
		return "", fmt.Errorf("%s found none: it may not be allowed to look at this process", look[0])
	}
}

// debuggerFor is the command that writes the frames of one thread. eu-stack
// comes first: it stops that thread only, gdb the whole process.
func debuggerFor(thread int, debugger string) ([]string, error) {
	id := strconv.Itoa(thread)
	names := []string{"eu-stack", "gdb"}
	switch debugger {
	case "":
	case noDebugger:
		return nil, fmt.Errorf("worker.Options.Debugger is %q", noDebugger)
	default:
		names = []string{debugger}
	}
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			continue
		}
		if strings.HasSuffix(name, "gdb") {
			return []string{
				name, "-nx", "-batch", "-iex", "set debuginfod enabled off", "-iex", "set auto-load no",
				"-iex", "set debug-file-directory /nonexistent", "-iex", "set libthread-db-search-path /nonexistent",
				fmt.Sprintf("/proc/%d/exe", os.Getpid()), "-ex", "attach " + id, "-ex", "bt 64",
			}, nil
		}
		return []string{name, "-1", "-p", id, "-n", "64"}, nil
	}
	return nil, fmt.Errorf("%s is not installed", strings.Join(names, " or "))
}

// nativeFrames are the lines of a debugger's output that are frames, down to
// where Go called C.
func nativeFrames(out string) string {
	var all []string
	const nameless = "?? ()"
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		switch {
		case !strings.HasPrefix(line, "#"):
			continue
		case strings.Contains(line, "asmcgocall"):
			return strings.Join(all, "\n")
		case len(all) > 0 && strings.HasSuffix(line, nameless) && strings.HasSuffix(all[len(all)-1], nameless):
			return strings.Join(all[:len(all)-1], "\n") // it has lost its way
		}
		all = append(all, line)
	}
	return strings.Join(all, "\n")
}
