package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// part is what a sample of a CPU profile was spent on.
type part int

const (
	partData part = iota
	partThreads
	partScheduler
	partMemory
	partTransport
	partSessions
	partSDK
	partBench
	partOther
	parts
)

var partNames = [parts]struct{ name, about string }{
	{"data", "system calls that read, write and poll"},
	{"threads", "system calls that put threads to sleep and wake them"},
	{"scheduler", "the Go runtime's goroutines and channels: parking, waking, choosing who runs"},
	{"memory", "allocating and collecting"},
	{"transport", "internal/zmqio, zmtp, wire"},
	{"sessions", "the state machines: client/core, worker/core, broker/core, session, heartbeat, assigner"},
	{"SDK", "client, worker, broker, codec: from the user's call to the state machine and back"},
	{"bench", "the benchmark: its load, its handlers, its clock"},
	{"other", "libraries of other peers, and the runtime's own housekeeping"},
}

func (p part) String() string { return partNames[p].name }
func (p part) about() string  { return partNames[p].about }

// partsOf sums a CPU profile by part.
func partsOf(file string) (sum [parts]time.Duration, err error) {
	f, err := os.Open(file)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	p, err := profile.Parse(f)
	if err != nil {
		return sum, fmt.Errorf("profile %s: %w", file, err)
	}
	for _, s := range p.Sample {
		sum[partOf(stackOf(s))] += time.Duration(s.Value[len(s.Value)-1]) // samples/count, cpu/nanoseconds
	}
	return sum, nil
}

// stackOf is a sample's functions, the innermost first.
func stackOf(s *profile.Sample) []string {
	var stack []string
	for _, at := range s.Location {
		for _, line := range at.Line {
			if line.Function != nil {
				stack = append(stack, line.Function.Name)
			}
		}
	}
	return stack
}

// What the runtime does for memory, wherever it stands on a stack.
var memoryWork = []string{
	"runtime.mallocgc", "runtime.newobject", "runtime.makeslice", "runtime.growslice", "runtime.gcBgMarkWorker", "runtime.gcAssistAlloc",
	"runtime.gcStart", "runtime.gcMarkDone", "runtime.bgsweep", "runtime.bgscavenge", "runtime.deductAssistCredit", "runtime.(*mheap).",
}

// What it does for goroutines.
var schedulerWork = []string{
	"runtime.schedule", "runtime.park_m", "runtime.gopark", "runtime.goready", "runtime.ready", "runtime.chansend", "runtime.chanrecv", "runtime.selectgo",
	"runtime.selectnb", "runtime.gosched_m", "runtime.goschedImpl", "runtime.mcall", "runtime.mstart", "runtime.sysmon", "runtime.semacquire", "runtime.semrelease",
	"runtime.entersyscall", "runtime.exitsyscall", "runtime.reentersyscall", "runtime.LockOSThread", "runtime.goexit0", "runtime.newproc",
	"internal/sync.(*Mutex)", "sync.(*Mutex)",
}

// System calls by which threads wait for each other.
var threadCalls = []string{"runtime.futex", "runtime.usleep", "runtime.osyield", "runtime.tgkill", "runtime.pthread_"}

// threadWaits are such of Limpet's own: its futexes.
var threadWaits = []string{limpetPath + "worker.(*tower).sleep", limpetPath + "worker.(*tower).wake"}

// Whose frame a sample is, by the beginning of the function's name. Packages that are
// not named pass the question on to their caller.
var partOfPackage = []struct {
	prefix string
	part   part
}{
	{limpetPath + "internal/zmqio.", partTransport},
	{limpetPath + "internal/zmtp.", partTransport},
	{limpetPath + "internal/wire.", partTransport},
	{limpetPath + "client/core.", partSessions},
	{limpetPath + "worker/core.", partSessions},
	{limpetPath + "broker/core.", partSessions},
	{limpetPath + "session.", partSessions},
	{limpetPath + "heartbeat.", partSessions},
	{limpetPath + "assigner.", partSessions},
	{limpetPath + "client.", partSDK},
	{limpetPath + "worker.", partSDK},
	{limpetPath + "broker.", partSDK},
	{limpetPath + "internal/codec.", partSDK},
	{"main.", partBench},
	{"google.golang.org/grpc", partOther},
	{"golang.org/x/net/http2", partOther},
	{"github.com/nats-io/", partOther},
	{"net/rpc.", partOther},
}

const limpetPath = "github.com/limpet-rpc/limpet/"

// partOf says what a sample was spent on, from its stack, the innermost function first.
func partOf(stack []string) part {
	if len(stack) == 0 {
		return partOther
	}
	switch {
	case anyOf(stack, memoryWork):
		return partMemory
	case anyOf(stack[:1], threadCalls), anyOf(stack, threadWaits):
		return partThreads
	case isSystemCall(stack[0]) && !anyOf(stack, schedulerWork[:1]): // epoll is the scheduler's where it looks for work
		return partData
	case ofRuntime(stack[0]) && anyOf(runtimeFrames(stack), schedulerWork):
		return partScheduler
	}
	for _, function := range stack {
		for _, p := range partOfPackage {
			if strings.HasPrefix(function, p.prefix) {
				return p.part
			}
		}
	}
	return partOther
}

func isSystemCall(function string) bool {
	return strings.HasPrefix(function, "internal/runtime/syscall") || strings.HasPrefix(function, "syscall.") || strings.HasPrefix(function, "golang.org/x/sys/unix.")
}

// ofRuntime holds for the runtime, and for the locks that it is asked by.
func ofRuntime(function string) bool {
	return strings.HasPrefix(function, "runtime.") || strings.HasPrefix(function, "internal/runtime/") || strings.HasPrefix(function, "internal/sync.") ||
		strings.HasPrefix(function, "sync.(*Mutex)") || !strings.Contains(function, ".") // gogo, gosave_systemstack_switch
}

// runtimeFrames are the innermost frames, up to the first that is not the runtime's.
func runtimeFrames(stack []string) []string {
	for i, function := range stack {
		if !ofRuntime(function) {
			return stack[:i]
		}
	}
	return stack
}

func anyOf(stack, prefixes []string) bool {
	for _, function := range stack {
		for _, prefix := range prefixes {
			if strings.HasPrefix(function, prefix) {
				return true
			}
		}
	}
	return false
}
