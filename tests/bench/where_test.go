package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWhere profiles two peers small: parts add up to what a process used, and
// both kinds of output have every process.
func TestWhere(t *testing.T) {
	dir := t.TempDir()
	file, page := filepath.Join(dir, "where.json"), filepath.Join(dir, "where.md")
	var out, errs bytes.Buffer
	args := []string{"where", "--repeats", "2", "--callers", "8", "--peers", "limpet-relayed,tcp-multiplexed", "--warmup", "50ms", "--window", "500ms", "--json", file, "--page", page}
	if code := benchMain(t.Context(), args, &out, &errs); code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var w Where
	if err := json.Unmarshal(b, &w); err != nil { //nolint:musttag // its fields go by their names, as written
		t.Fatalf("results: %v, %.80q", err, b)
	}
	if len(w.Spent) != 5 { // broker, node, client; worker, client
		t.Fatalf("%d processes: %+v", len(w.Spent), w.Spent)
	}
	for _, s := range w.Spent {
		sum := 0.0
		for p := range parts {
			sum += s.micros(p)
		}
		if s.total() <= 0 || math.Abs(sum-s.total()) > s.total()/1000 {
			t.Errorf("%s of %s: parts are %v µs of %v: %v", s.Process, s.Peer, sum, s.total(), s.Samples)
		}
	}
	if transport := w.spent("limpet-relayed", 8, "broker"); transport.Samples[partData] == 0 {
		t.Errorf("a broker that reads and writes nothing: %v", transport.Samples)
	}
	text, err := os.ReadFile(page)
	if err != nil || strings.Count(string(text), "| limpet-relayed |") != 3 || strings.Count(out.String(), "tcp-multiplexed") != 2 {
		t.Errorf("page: %v\n%s\nprinted:\n%s", err, text, out.String())
	}
}

func TestPartOf(t *testing.T) {
	const zmqio, worker, core = limpetPath + "internal/zmqio.", limpetPath + "worker.", limpetPath + "worker/core."
	cases := []struct {
		stack string // the innermost first
		want  part
	}{
		{"internal/runtime/syscall/linux.Syscall6 syscall.RawSyscall6 syscall.write golang.org/x/sys/unix.Write " + zmqio + "(*link).write", partData},
		{"internal/runtime/syscall/linux.Syscall6 internal/runtime/syscall/linux.EpollWait runtime.netpoll runtime.findRunnable runtime.schedule runtime.park_m", partScheduler},
		{"runtime.futex runtime.futexsleep runtime.notesleep runtime.stopm runtime.findRunnable runtime.schedule", partThreads},
		{"internal/runtime/syscall/linux.Syscall6 syscall.RawSyscall6 syscall.Syscall6 " + worker + "(*tower).sleep " + worker + "(*bell).wait", partThreads},
		{"runtime.casgstatus runtime.goready runtime.send runtime.chansend " + worker + "(*task).give", partScheduler},
		{"gogo runtime.execute runtime.schedule", partScheduler},
		{"runtime.scanobject runtime.gcDrain runtime.gcBgMarkWorker.func2 runtime.systemstack runtime.gcBgMarkWorker", partMemory},
		{"runtime.memmove " + core + "(*Core).Done " + worker + "(*node).done", partSessions},
		{"hash/crc32.update hash/crc32.Update " + core + "hashOf", partSessions},
		{limpetPath + "internal/prefetch.lines " + limpetPath + "internal/prefetch.At " + worker + "(*node).Soon " + zmqio + "(*Loop).deliver", partSDK},
		{zmqio + "(*Loop).turn main.limpetNode", partTransport},
		{"time.runtimeNow time.Now main.loop", partBench},
		{"bufio.(*Reader).Read google.golang.org/grpc/internal/transport.(*http2Client).reader", partOther},
		{"runtime.nanotime", partOther},
		{"", partOther},
	}
	for _, c := range cases {
		if got := partOf(strings.Fields(c.stack)); got != c.want {
			t.Errorf("%s: %v, want %v", c.stack, got, c.want)
		}
	}
}

func TestWhereRefuses(t *testing.T) {
	for _, args := range []string{"--peers nobody", "--peers c-direct", "--size 1", "--callers 0"} {
		var out, errs bytes.Buffer
		if code := benchMain(t.Context(), append([]string{"where"}, strings.Fields(args)...), &out, &errs); code != exitUsage || errs.Len() == 0 {
			t.Errorf("%s: exit code %d, %q", args, code, errs.String())
		}
	}
}
