package tests

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// isolatedRole is a program whose slots are in worker processes. It ends with
// its standard input; a worker process ends with it. Its log is on its standard
// output.
func isolatedRole(ctx context.Context) error {
	if os.Getenv("CRASH") != "" && worker.InWorkerProcess() {
		fmt.Fprintln(os.Stderr, "panic: cannot start")
		os.Exit(7)
	}
	log := quiet()
	if !worker.InWorkerProcess() || os.Getenv("LOUD") != "" {
		log = slog.New(slog.NewTextHandler(os.Stdout, nil))
	}
	p := worker.NewPool(worker.Config[*int]{
		Pool: "isolated", Slots: setting("SLOTS"), Budget: millis("BUDGET"),
		MaxSlots: setting("MOST"), GrowAfter: millis("GROW"), ShrinkAfter: millis("SHRINK"),
		Open: func(context.Context, *worker.Session) (*int, error) { return new(int), nil },
	})
	worker.Handle(p, "add", func(_ context.Context, total *int, n int) (int, error) { *total += n; return *total, nil })
	worker.Handle(p, "pid", func(context.Context, *int, int) (int, error) { return os.Getpid(), nil })
	worker.Handle(p, "stop", stopWholeProcess)
	worker.Handle(p, "seize", seizeWholeProcess)
	worker.Handle(p, "exit", func(_ context.Context, _ *int, code int) (int, error) { os.Exit(code); return 0, nil })
	worker.Handle(p, "bomb", forkBombGoroutines)
	worker.Handle(p, "spin", func(context.Context, *int, int) (int, error) { spinForEver(); return 0, nil })
	return worker.Serve(ctx, worker.Options{
		Broker: os.Getenv("BROKER"), Name: os.Getenv("NAME"), SlotsPerProcess: setting("EACH"), Neighbours: millis("NEIGHBOURS"),
		Beat: millis("BEAT"), Misses: setting("MISSES"), Grace: millis("GRACE"), Records: os.Getenv("RECORDS"), Logger: log,
	}, p)
}

// stopWholeProcess stops every thread of this process.
func stopWholeProcess(context.Context, *int, int) (int, error) {
	fmt.Println("began stop")
	if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
		return 0, err
	}
	spinForEver() // its own thread may be the last to stop
	return 0, nil
}

// seizeWholeProcess blocks in calls of which Go's scheduler knows nothing, one
// on every processor that it has: nothing else runs any more.
func seizeWholeProcess(context.Context, *int, int) (int, error) {
	fmt.Println("began seize")
	var fds [2]int
	if err := unix.Pipe(fds[:]); err != nil {
		return 0, err
	}
	for range runtime.GOMAXPROCS(0) + 1 {
		go blockTheProcessor(fds[0])
	}
	blockTheProcessor(fds[0])
	return 0, nil
}

//go:noinline
func blockTheProcessor(fd int) {
	var b [1]byte
	if _, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&b)), 1); errno != 0 {
		panic(errno)
	}
}

// forkBombGoroutines starts goroutines that never end, up to a limit.
func forkBombGoroutines(_ context.Context, _ *int, most int) (int, error) {
	for range most {
		go spinForEver()
	}
	spinForEver()
	return 0, nil
}

// spinForEver stays on its own stack: what the race detector would have it call
// runs on another, where nobody finds its name.
//
//go:noinline
//go:norace
func spinForEver() {
	for n := 1; ; n = n*1664525 + 1013904223 {
		if n == 0 {
			runtime.Gosched()
		}
	}
}

// isolated starts a program with slots in worker processes, and waits until all
// are there.
func isolated(t *testing.T, c *cell, records string, slots, each int, env ...string) *child {
	t.Helper()
	p := start(t, "isolated", append(append([]string{
		"BROKER=" + c.url, "NAME=iso", fmt.Sprint("SLOTS=", slots), fmt.Sprint("EACH=", each), "RECORDS=" + records,
	}, quick...), env...)...)
	c.whole(t, slots)
	return p
}

// line waits for a line with these words in it, which it returns.
func (c *child) line(words string) string {
	c.t.Helper()
	for {
		if line := await(c.t, c.lines, words); strings.Contains(line, words) {
			return line
		}
	}
}

// whole waits until as many slots are served, not counting those of nodes that
// drain, or were there before under such a name.
func (c *cell) whole(t *testing.T, slots int, before ...string) {
	t.Helper()
	eventually(t, "every slot is served", func() bool {
		ready := 0
		for _, n := range c.status(t).Nodes {
			if n.State != "draining" && !slices.Contains(before, n.Name) {
				ready += n.Slots
			}
		}
		return ready == slots
	})
}

// gone waits for its end.
func (c *child) gone() {
	c.t.Helper()
	eventually(c.t, "it ends", func() bool { return stopped(c.ended) })
}

// isolatedCell is a broker that looks for start records in a folder of the
// test's own, which it returns.
func isolatedCell(t *testing.T) (c *cell, records string) {
	t.Helper()
	records = filepath.Join(t.TempDir(), "records")
	return newCell(t, broker.Options{Records: records, Beat: quickBeat, Misses: quickMisses}), records
}

func pidOf(t *testing.T, s *client.Session) int {
	t.Helper()
	return mustCall[int](t, s, "pid", 0)
}

// lives reports that a process is there and no zombie.
func lives(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(b), ") Z ")
}

// neighbour counts in a session without a pause, until stopped; it returns how
// far it came and how long the slowest call took.
func neighbour(t *testing.T, s *client.Session) (stop func() (int, time.Duration)) {
	t.Helper()
	end, done := make(chan struct{}), make(chan struct{})
	n, slowest := 0, time.Duration(0)
	go func() {
		defer close(done)
		for !stopped(end) {
			begun := time.Now()
			got, err := client.Call[int](context.Background(), s, "add", 1)
			if err != nil || got != n+1 {
				t.Errorf("a neighbour's call %d: %d, %v", n+1, got, err)
				return
			}
			n++
			slowest = max(slowest, time.Since(begun))
		}
	}()
	return func() (int, time.Duration) { close(end); <-done; return n, slowest }
}

// A worker process whose loop stands (it was stopped, or its code holds every
// processor) is found by its missing beats, dumped from outside, killed and
// replaced. Its clients are told so; what had not started is not run; those of
// other processes notice nothing.
func TestWorkerProcessHangs(t *testing.T) {
	for _, test := range []struct{ method, function string }{{"stop", "stopWholeProcess"}, {"seize", "blockTheProcessor"}} {
		t.Run(test.method, func(t *testing.T) {
			c, records := isolatedCell(t)
			p := isolated(t, c, records, 2, 1)
			cl := c.dial(t)
			s, other := open(t, cl, "isolated"), open(t, cl, "isolated")
			pid, otherPID := pidOf(t, s), pidOf(t, other)
			if pid == otherPID {
				t.Fatalf("both sessions are in process %d", pid)
			}
			stop := neighbour(t, other)
			begun := time.Now()
			hung, behind := make(chan error, 1), make(chan error, 1)
			go func() { hung <- s.Call(context.Background(), test.method, 0, nil) }()
			p.line("| began " + test.method)
			go func() { behind <- s.Call(context.Background(), "add", 1, nil) }()

			err := await(t, hung, "the end of the call that hangs")
			if !errors.Is(err, session.ErrWorkerHung) || !errors.Is(err, session.Unknown) || !contains(err.Error(), "no beat") {
				t.Errorf("it ended with %v, want worker hung, unknown, no beat", err)
			}
			told := time.Since(begun)
			if err := await(t, behind, "the end of the call behind it"); !errors.Is(err, session.ErrWorkerHung) || !errors.Is(err, session.NotRun) {
				t.Errorf("the call behind it ended with %v, want worker hung, not run", err)
			}
			c.whole(t, 2)
			replaced := time.Since(begun)
			eventually(t, "its dump names "+test.function, func() bool {
				in, err := c.broker.InspectNode(t.Context(), s.Route().NodeName)
				return err == nil && in.Death != nil && contains(in.Death.Dump, test.function)
			})
			fresh := open(t, cl, "isolated")
			if n := pidOf(t, fresh); n == pid || n == otherPID {
				t.Errorf("the replacement is process %d", n)
			}
			n, slowest := stop()
			t.Logf("limit %s: client told after %s, replacement ready after %s; neighbour: %d calls, slowest %s",
				quickLimit, told.Round(time.Millisecond), replaced.Round(time.Millisecond), n, slowest.Round(time.Millisecond))
			if n == 0 || pidOf(t, other) != otherPID {
				t.Errorf("the neighbour made %d calls", n)
			}
			if lives(pid) {
				t.Errorf("process %d lives", pid)
			}
			p.leave()
		})
	}
}

// The worker processes of a program that is killed are gone with it, and their
// clients are told.
func TestSupervisorIsKilled(t *testing.T) {
	c, records := isolatedCell(t)
	p := isolated(t, c, records, 3, 1)
	cl := c.dial(t)
	var pids []int
	var s *client.Session
	for range 3 {
		s = open(t, cl, "isolated")
		pids = append(pids, pidOf(t, s))
	}
	p.kill()
	begun := time.Now()
	eventually(t, "no worker process is left", func() bool { return !slices.ContainsFunc(pids, lives) })
	t.Logf("no process is left after %s", time.Since(begun).Round(time.Millisecond))
	eventually(t, "the session has ended", func() bool { return s.Err() != nil })
	// A process may see the end, and say so, before the kernel kills it: see TestOrphanEnds.
	err := s.Err()
	if lost := errors.Is(err, session.ErrWorkerLost) && contains(err.Error(), "its supervisor"); !lost && !errors.Is(err, session.ErrSessionDrained) {
		t.Errorf("a session ended with %v, want worker lost, its supervisor; or drained", err)
	}
}

// A worker process that the kernel does not kill with its supervisor, as one
// that has changed its user, sees its end by itself: it ends its sessions, says
// why, and ends.
func TestOrphanEnds(t *testing.T) {
	c, records := isolatedCell(t)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(fds[1]), "link")}
	cmd.Env = append(os.Environ(), roleVariable+"=isolated", "BROKER="+c.url, "RECORDS="+records, "SLOTS=1", "LOUD=1",
		fmt.Sprintf(`LIMPET_WORKER_PROCESS={"pool":"isolated","slots":1,"name":"orphan","supervisor":%d,"fd":3}`, os.Getpid()))
	p := startCommand(t, cmd)
	if err := cmd.ExtraFiles[0].Close(); err != nil {
		t.Fatal(err)
	}
	c.whole(t, 1)
	s := open(t, c.dial(t), "isolated")
	pidOf(t, s)
	if err := unix.Close(fds[0]); err != nil { // as the supervisor's death does
		t.Fatal(err)
	}
	p.line("the supervisor of this worker process is gone")
	eventually(t, "the session has ended", func() bool { return s.Err() != nil })
	if !errors.Is(s.Err(), session.ErrSessionDrained) {
		t.Errorf("the session ended with %v, want drained", s.Err())
	}
	p.gone()
}

// A worker process that is killed, or ends by itself, is replaced; its clients
// are told how it ended.
func TestWorkerProcessEnds(t *testing.T) {
	c, records := isolatedCell(t)
	p := isolated(t, c, records, 2, 1)
	cl := c.dial(t)
	s, other := open(t, cl, "isolated"), open(t, cl, "isolated")
	stop := neighbour(t, other)
	ends := []struct {
		end  func(*client.Session)
		text string
	}{
		{func(s *client.Session) { _ = syscall.Kill(pidOf(t, s), syscall.SIGKILL) }, "signal: killed"},
		{func(s *client.Session) { _, _ = call[int](t, s, "exit", 3) }, "exit status 3"},
	}
	for _, e := range ends {
		begun := time.Now()
		e.end(s)
		eventually(t, "the session has ended", func() bool { return s.Err() != nil })
		if err := s.Err(); !errors.Is(err, session.ErrWorkerLost) || !contains(err.Error(), e.text) {
			t.Errorf("it ended with %v, want worker lost, %s", err, e.text)
		}
		told := time.Since(begun)
		c.whole(t, 2)
		t.Logf("%s: client told after %s, replacement ready after %s", e.text, told.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
		s = open(t, cl, "isolated")
	}
	if n, _ := stop(); n == 0 {
		t.Error("the neighbour made no calls")
	}
	p.leave()
}

// Processes that die young are replaced later each time; a program of which
// none comes up is told so.
func TestWorkerProcessesDieYoung(t *testing.T) {
	c, records := isolatedCell(t)
	p := isolated(t, c, records, 1, 1)
	cl := c.dial(t)
	var pauses []string
	for range 4 {
		_, _ = call[int](t, open(t, cl, "isolated"), "exit", 1)
		_, pause, _ := strings.Cut(p.line("worker process is gone"), "replaced_in=")
		pauses = append(pauses, pause)
		c.whole(t, 1)
	}
	t.Logf("replaced in %s", pauses)
	if first, last := duration(t, pauses[0]), duration(t, pauses[3]); last < 4*first {
		t.Errorf("the fourth is replaced in %s, the first in %s", last, first)
	}
	p.leave()

	q := start(t, "isolated", "BROKER="+c.url, "NAME=iso", "SLOTS=1", "EACH=1", "RECORDS="+records, "CRASH=1")
	if line := q.line("failed:"); !contains(line, "no worker process comes up") || !contains(line, "exit status 7") || !contains(line, "cannot start") {
		t.Errorf("the program ended with %q", line)
	}
	q.gone()
}

func duration(t *testing.T, text string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(strings.TrimSpace(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A program that is told to end ends its worker processes first: their sessions
// have the grace.
func TestSupervisorEnds(t *testing.T) {
	c, records := isolatedCell(t)
	p := isolated(t, c, records, 2, 1, "GRACE=300")
	cl := c.dial(t)
	s := open(t, cl, "isolated")
	pid := pidOf(t, s)
	p.leave()
	eventually(t, "the session has ended", func() bool { return s.Err() != nil })
	if !errors.Is(s.Err(), session.ErrSessionDrained) {
		t.Errorf("the session ended with %v, want drained", s.Err())
	}
	if lives(pid) {
		t.Errorf("process %d lives", pid)
	}
	if n := c.nodes(t); n != 0 {
		t.Errorf("%d nodes are left", n)
	}
}

// A worker process that was drained by an operator is not replaced, and when all
// were, their program ends.
func TestWorkerProcessIsDrained(t *testing.T) {
	c, records := isolatedCell(t)
	p := isolated(t, c, records, 2, 1)
	for _, n := range c.status(t).Nodes {
		if _, err := c.broker.DrainNode(t.Context(), n.Node, 0); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the node is gone", func() bool { return !lives(n.PID) })
	}
	p.gone()
	if !p.cmd.ProcessState.Success() {
		t.Errorf("it ended with %s", p.cmd.ProcessState)
	}
}

// A worker process in which a session hangs gets no more sessions and is
// replaced at once. Its other sessions go on; when they have ended, or their
// time is over, it is dumped and killed.
func TestProcessOfAHungSession(t *testing.T) {
	for _, test := range []struct {
		name, neighbours string
		closes           bool
	}{{"neighbour ends", "NEIGHBOURS=60000", true}, {"its time is over", "NEIGHBOURS=500", false}} {
		t.Run(test.name, func(t *testing.T) {
			c, records := isolatedCell(t)
			p := isolated(t, c, records, 2, 2, "BUDGET=500", test.neighbours)
			cl := c.dial(t)
			s, other := open(t, cl, "isolated"), open(t, cl, "isolated")
			pid, name := pidOf(t, s), s.Route().NodeName
			if other.Route().NodeName != name {
				t.Fatal("the sessions are in two processes")
			}
			mustCall[int](t, other, "add", 0) // it is known where it can be told of its end
			begun := time.Now()
			if _, err := call[int](t, s, "spin", 0); !errors.Is(err, session.ErrWorkerHung) {
				t.Errorf("it ended with %v, want worker hung", err)
			}
			told := time.Since(begun)
			c.whole(t, 2, name)
			t.Logf("budget 500ms: client told after %s, replacement ready after %s", told.Round(time.Millisecond), time.Since(begun).Round(time.Millisecond))
			if fresh := open(t, cl, "isolated"); fresh.Route().NodeName == name {
				t.Errorf("a new session is in %s", name)
			}
			if test.closes {
				for i := range 100 {
					if n := mustCall[int](t, other, "add", 1); n != i+1 {
						t.Fatalf("the neighbour counts to %d, want %d", n, i+1)
					}
				}
				closeSession(t, other)
			} else {
				eventually(t, "the neighbour has ended", func() bool { return other.Err() != nil })
				if !errors.Is(other.Err(), session.ErrSessionDrained) {
					t.Errorf("the neighbour ended with %v, want drained", other.Err())
				}
			}
			eventually(t, "the process is gone", func() bool { return !lives(pid) })
			eventually(t, "its dump can be read", func() bool {
				in, err := c.broker.InspectNode(t.Context(), name)
				return err == nil && in.Death != nil && contains(in.Death.Dump, "spinForEver") && contains(in.Death.Why, "recycled")
			})
			p.leave()
		})
	}
}

// A handler that starts goroutines without end, up to a limit, takes its process
// down and nobody else.
func TestBombOfGoroutines(t *testing.T) {
	c, records := isolatedCell(t)
	p := isolated(t, c, records, 2, 1, "BUDGET=1000")
	cl := c.dial(t)
	s, other := open(t, cl, "isolated"), open(t, cl, "isolated")
	stop := neighbour(t, other)
	pid, begun := pidOf(t, s), time.Now()
	_, err := call[int](t, s, "bomb", 10_000)
	if !errors.Is(err, session.ErrWorkerHung) || !errors.Is(err, session.Unknown) {
		t.Errorf("it ended with %v, want worker hung, unknown", err)
	}
	told := time.Since(begun)
	c.whole(t, 2, s.Route().NodeName)
	replaced := time.Since(begun)
	eventually(t, "the process is gone", func() bool { return !lives(pid) })
	n, slowest := stop()
	t.Logf("budget 1s, 10000 goroutines: client told after %s, replacement ready after %s; neighbour: %d calls, slowest %s",
		told.Round(time.Millisecond), replaced.Round(time.Millisecond), n, slowest.Round(time.Millisecond))
	p.leave()
}

// A supervisor that was stopped itself has heard no beats, and accuses nobody.
func TestStoppedSupervisorAccusesNobody(t *testing.T) {
	c, records := isolatedCell(t)
	p := isolated(t, c, records, 2, 1)
	s := open(t, c.dial(t), "isolated")
	pid := pidOf(t, s)
	callsFor := func(d time.Duration) {
		for begun := time.Now(); time.Since(begun) < d; {
			mustCall[int](t, s, "add", 1)
		}
	}
	p.signal(syscall.SIGSTOP)
	callsFor(quickLimit * 3 / 2)
	p.signal(syscall.SIGCONT)
	callsFor(time.Second)
	if got := pidOf(t, s); got != pid {
		t.Errorf("the session is in process %d, was in %d", got, pid)
	}
	p.leave()
}
