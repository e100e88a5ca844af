package supervise

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A worker process runs this very program: what its threads have on their stacks
// that points behind a call in this program's Go code can be named here, with
// no debugger and no symbols, and without the process's help. Some of it may be
// left over from calls that have ended.

// Bounds of a look at a thread's stack.
const (
	scanMost   = 8 << 10 // bytes
	framesMost = 24
)

// likelyFrames are the Go functions that a thread is in, innermost first, as far
// as its stack shows; nil for a thread that runs, or may not be looked at.
func likelyFrames(pid int, task string, bias uint64) []string {
	words := strings.Fields(line(task + "/syscall"))
	if len(words) < 3 { // number or -1, arguments, stack pointer, program counter
		return nil
	}
	sp, errSP := strconv.ParseUint(words[len(words)-2], 0, 64)
	pc, errPC := strconv.ParseUint(words[len(words)-1], 0, 64)
	if errSP != nil || errPC != nil {
		return nil
	}
	stack := make([]byte, scanMost)
	n, err := unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &stack[0], Len: scanMost}}, []unix.RemoteIovec{{Base: uintptr(sp), Len: scanMost}}, 0)
	if err != nil {
		n = 0 // it ends there, or may not be read: the program counter is known
	}
	var frames []string
	add := func(at uint64) {
		f := runtime.FuncForPC(uintptr(at - bias))
		if f == nil || uintptr(at-bias) == f.Entry() || len(frames) == framesMost {
			return
		}
		file, number := f.FileLine(uintptr(at - bias))
		if frame := fmt.Sprintf("%s (%s:%d)", f.Name(), file, number); len(frames) == 0 || frames[len(frames)-1] != frame {
			frames = append(frames, frame)
		}
	}
	add(pc)
	for at := 0; at+8 <= n; at += 8 {
		add(binary.NativeEndian.Uint64(stack[at:]) - 1) // the call, not what comes after it
	}
	return frames
}

// biasOf is by how much this program lies elsewhere in that process than here.
func biasOf(pid int) uint64 {
	return textOf(strconv.Itoa(pid)) - textOf("self")
}

// textOf is where the program begins in a process: its file is mapped first.
func textOf(pid string) uint64 {
	maps, err := os.ReadFile("/proc/" + pid + "/maps")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(maps), "-")
	at, err := strconv.ParseUint(first, 16, 64)
	if err != nil {
		return 0
	}
	return at
}
