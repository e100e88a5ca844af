package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
)

// python is an interpreter, or the end of the test.
func python(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/python3", "python3"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("there is no python3: scripts/deps.sh installs it")
	return ""
}

// theater is a running limpet exec.
type theater struct {
	t      *testing.T
	cmd    *exec.Cmd
	client *client.Client
	mu     sync.Mutex
	log    bytes.Buffer
}

// Write takes the log.
func (p *theater) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *theater) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// exec serves a pool by limpet exec until the test ends.
func (c *cell) exec(t *testing.T, args ...string) *theater {
	t.Helper()
	p := &theater{t: t}
	p.cmd = as(context.Background(), "limpet", append([]string{"exec", "--name", "theater", "--broker", c.broker}, args...)...)
	p.cmd.Stderr = p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = p.cmd.Wait() // the test looks at the state
		close(ended)
	}()
	var err error
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	p.client, err = client.Dial(ctx, c.broker, client.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.client.Close() // what it leaves open ends with the node
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		<-ended
		if t.Failed() {
			t.Log(p.logged())
		}
	})
	c.await(t, "limpet exec is registered", func(st *core.Status) bool {
		return slices.ContainsFunc(st.Nodes, func(n core.NodeStatus) bool { return n.Name == "theater" })
	})
	return p
}

func (p *theater) open() (*client.Session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*long)
	defer cancel()
	return p.client.Open(ctx, "python", client.WithWait(2*long))
}

// evaluate makes a call that has to succeed.
func evaluate[R any](t *testing.T, s *client.Session, method, source string) R {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*long)
	defer cancel()
	r, err := client.Call[R](ctx, s, method, source)
	if err != nil {
		t.Errorf("%s %q in %s: %v", method, source, s.ID(), err)
	}
	return r
}

// left are the processes that have one of these texts in their environment.
func left(texts ...string) (pids []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range all {
		environ, err := os.ReadFile(path) // empty for a zombie
		if err != nil {
			continue
		}
		if slices.ContainsFunc(texts, func(text string) bool { return bytes.Contains(environ, []byte(text)) }) {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}

// nothingLeft waits until there are none.
func nothingLeft(t *testing.T, texts ...string) {
	t.Helper()
	for deadline := time.Now().Add(long); ; time.Sleep(time.Millisecond) { // a poll of the process table, which tells nobody
		pids := left(texts...)
		if len(pids) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d processes are left: %s", len(pids), pids)
		}
	}
}

func marks(sessions []*client.Session) (texts []string) {
	for _, s := range sessions {
		texts = append(texts, "LIMPET_SESSION="+s.ID().String())
	}
	return texts
}

// eachOf runs a part for each of n, a few at a time.
func eachOf(n int, part func(i int)) {
	var all sync.WaitGroup
	room := make(chan struct{}, 8)
	for i := range n {
		room <- struct{}{}
		all.Go(func() {
			part(i)
			<-room
		})
	}
	all.Wait()
}

// A hundred sessions with a Python interpreter each: what a session knows it
// keeps, and no other knows it; one that is killed is a typed error; closing
// leaves no process, and kill -9 of limpet exec leaves none either.
func TestExecPython(t *testing.T) {
	interpreter := python(t)
	c := newCell(t)
	const many = 100
	p := c.exec(t, "--pool", "python", "--slots", strconv.Itoa(many), "--settle", "1m", "--", interpreter, "../../examples/exec/interpreter.py")
	sessions := make([]*client.Session, many)
	began := time.Now()
	eachOf(many, func(i int) {
		s, err := p.open()
		if err != nil {
			t.Errorf("open %d: %v", i, err)
		}
		sessions[i] = s
	})
	if t.Failed() {
		t.FailNow()
	}
	t.Logf("%d sessions with an interpreter each were opened in %s", many, time.Since(began).Round(time.Millisecond))
	p.keepTheirState(sessions)
	sessions = p.loseSome(sessions)
	p.closeSome(sessions[:50])
	sessions = sessions[50:]
	alive := marks(sessions)
	if n := len(left(alive...)); n < len(sessions) {
		t.Errorf("%d of %d interpreters are left while their sessions are open", n, len(sessions))
	}
	for i, s := range sessions { // each tenth has children too
		if i%10 == 0 {
			evaluate[any](t, s, "exec", "import subprocess; subprocess.Popen(['sleep', '1000'])")
		}
	}
	began = time.Now()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, alive...)
	t.Logf("%d interpreters were gone %s after limpet exec", len(sessions), time.Since(began).Round(time.Millisecond))
}

// keepTheirState sets a name in every session and looks whether it stays.
func (p *theater) keepTheirState(sessions []*client.Session) {
	p.t.Helper()
	pids := make([]int, len(sessions))
	eachOf(len(sessions), func(i int) {
		s := sessions[i]
		evaluate[any](p.t, s, "exec", fmt.Sprintf("import os; mine = [%d]", i))
		pids[i] = evaluate[int](p.t, s, "eval", "os.getpid()")
	})
	for range 5 {
		eachOf(len(sessions), func(i int) { evaluate[any](p.t, sessions[i], "exec", "mine.append(mine[-1] + 1)") })
	}
	eachOf(len(sessions), func(i int) {
		want := []int{i, i + 1, i + 2, i + 3, i + 4, i + 5}
		if got := evaluate[[]int](p.t, sessions[i], "eval", "mine"); !slices.Equal(got, want) {
			p.t.Errorf("session %d knows %v, want %v", i, got, want)
		}
	})
	slices.Sort(pids)
	if n := len(slices.Compact(pids)); n != len(sessions) {
		p.t.Errorf("%d sessions have %d processes", len(sessions), n)
	}
}

// loseSome kills an interpreter in a call and one between calls.
func (p *theater) loseSome(sessions []*client.Session) []*client.Session {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	busy, idle := sessions[0], sessions[1]
	pid := evaluate[int](p.t, busy, "eval", "os.getpid()")
	call := busy.Go(ctx, "exec", "import time\nos.write(2, b'the last words\\n')\nprint('on it')\ntime.sleep(1000)")
	for _, err := range client.Progress[string](call) {
		if err != nil {
			p.t.Error(err)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			p.t.Error(err)
		}
		break
	}
	err := call.Wait(nil)
	if !errors.Is(err, session.ErrWorkerDied) || !errors.Is(err, session.Unknown) {
		p.t.Errorf("the call of a killed interpreter ended with %v, want worker died, unknown", err)
	}
	for _, part := range []string{strconv.Itoa(pid), "signal: killed", "the last words"} {
		if !strings.Contains(fmt.Sprint(err), part) {
			p.t.Errorf("the error lacks %q: %v", part, err)
		}
	}
	if err := syscall.Kill(evaluate[int](p.t, idle, "eval", "os.getpid()"), syscall.SIGKILL); err != nil {
		p.t.Error(err)
	}
	for deadline := time.Now().Add(long); idle.Err() == nil; time.Sleep(time.Millisecond) { // a poll, not an event
		if time.Now().After(deadline) {
			p.t.Fatal("the session of a killed interpreter does not end")
		}
	}
	if _, err := client.Call[int](ctx, idle, "eval", "1"); !errors.Is(err, session.ErrWorkerDied) || !errors.Is(err, session.NotRun) {
		p.t.Errorf("a call after the kill ended with %v, want worker died, not run", err)
	}
	nothingLeft(p.t, marks(sessions[:2])...)
	if !strings.Contains(p.logged(), "session="+busy.ID().String()+" process="+strconv.Itoa(pid)+" line=\"the last words\"") {
		p.t.Error("the log lacks the last words with their session")
	}
	return sessions[2:]
}

func (p *theater) closeSome(sessions []*client.Session) {
	p.t.Helper()
	eachOf(len(sessions), func(i int) {
		ctx, cancel := context.WithTimeout(context.Background(), long)
		defer cancel()
		if err := sessions[i].Close(ctx); err != nil {
			p.t.Error(err)
		}
	})
	nothingLeft(p.t, marks(sessions)...)
}

// The example as its help shows it, from a shell, and SIGTERM.
func TestExecFromAShell(t *testing.T) {
	interpreter := python(t)
	c := newCell(t)
	p := c.exec(t, "--pool", "python", "--slots", "2", "--dir", "../../examples/exec", "--env", "DRINK=rum", "--", interpreter, "interpreter.py")
	for _, test := range []struct {
		args []string
		in   string
		want result
	}{
		{[]string{"call", "python", "eval", `"6 * 7"`}, "", result{out: "42\n"}},
		{[]string{"session", "python"}, `exec "x = 2**53 + 1"
eval "[x, 0.5, 3.0, None]"
exec "print(x)"`, result{out: `""
[9007199254740993,0.5,3.0,null]
"9007199254740993\n"
`}},
		{[]string{"call", "python", "eval", `"__import__('os').environ['DRINK']"`}, "", result{out: "\"rum\"\n"}},
		{[]string{"call", "python", "eval", `"1/0"`}, "", result{err: "method failed: ZeroDivisionError: division by zero (code -32000)\n", code: exitMethod}},
	} {
		got := c.limpet(t, test.in, test.args...)
		if got.out != test.want.out || got.code != test.want.code || !strings.HasSuffix(got.err, test.want.err) {
			t.Errorf("%q: %+v, want %+v", test.args, got, test.want)
		}
	}
	got := c.limpet(t, "", "call", "python", "eval", `"__import__('os')._exit(3)"`)
	if got.code != exitLost {
		t.Errorf("exit code %d, want %d", got.code, exitLost)
	}
	checkLine(t, got.err, []string{"call eval: worker died: python3", "exit status 3", "unknown outcome"})
	got = c.limpet(t, "", "call", "python", "exec", `"while True: pass"`, "--timeout", "100ms")
	if got.code != exitTimeout || !strings.HasPrefix(got.err, "limpet: call exec: ") {
		t.Errorf("a call that takes too long: %+v, want exit code %d", got, exitTimeout)
	}
	s, err := p.open()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, marks([]*client.Session{s})...)
	c.await(t, "the node has left", func(st *core.Status) bool { return len(st.Nodes) == 0 && len(st.Lost) == 0 })
}

// A call that is cancelled is interrupted, whether the interpreter has begun it
// or has only read it, and the session goes on. One that has been answered is
// nothing to cancel.
func TestExecInterrupts(t *testing.T) {
	const (
		loop   = `{"jsonrpc":"2.0","id":%d,"method":"exec","params":["print('on it')\nwhile True: pass"]}` + "\n"
		cancel = `{"jsonrpc":"2.0","method":"$/cancelRequest","params":{"id":%d}}` + "\n"
		eval   = `{"jsonrpc":"2.0","id":%d,"method":"eval","params":["6 * 7"]}` + "\n"
	)
	ctx, stop := context.WithTimeout(t.Context(), long)
	defer stop()
	cmd := exec.CommandContext(ctx, python(t), "../../examples/exec/interpreter.py")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	next := func(want string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), want) {
				return
			}
		}
		t.Fatalf("%s was not said", want)
	}
	tell := func(format string, ids ...any) {
		t.Helper()
		if _, err := fmt.Fprintf(in, format, ids...); err != nil {
			t.Fatal(err)
		}
	}
	tell(loop+cancel+eval+cancel, 1, 1, 2, 1)
	next(`"id": 1, "error": {"code": -32800`)
	next(`"id": 2, "result": 42`)
	tell(loop, 3)
	next("on it")
	tell(cancel+cancel+eval, 3, 3, 4)
	next(`"id": 3, "error": {"code": -32800`)
	next(`"id": 4, "result": 42`)
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// What limpet exec refuses before it serves anything.
func TestExecRefuses(t *testing.T) {
	var none *cell
	for _, test := range []struct {
		args string
		err  []string
	}{
		{"exec --pool p", []string{"CMD is missing", "'limpet exec --help'"}},
		{"exec -- sh", []string{"--pool is missing"}},
		{"exec --pool p -- limpet-no-such-program", []string{`pool "p": program: exec: "limpet-no-such-program"`, "not found"}},
		{"exec --pool p -- ./no/such", []string{"no such file"}},
		{"exec --pool p -- /etc/passwd", []string{"permission denied"}},
		{"exec --pool p --dir /no/such -- sh", []string{"folder", "/no/such"}},
		{"exec --pool p --env DRINK -- sh", []string{`environment "DRINK": want key=value`}},
		{"exec --pool p --slots 0 -- sh", []string{"--slots", "from 1 to"}},
		{"exec --pool p --grace soon -- sh", []string{"--grace", "want a duration"}},
		{"exec --pool p --broker nowhere -- sh", []string{`broker "nowhere"`}},
	} {
		got := none.limpet(t, "", strings.Fields(test.args)...)
		if got.code != exitUsage {
			t.Errorf("%s: exit code %d, want %d", test.args, got.code, exitUsage)
		}
		checkLine(t, strings.TrimPrefix(got.err, serving(got.err)), test.err)
	}
}

// serving is the line that limpet exec logs when all that it was given holds.
func serving(stderr string) string {
	line, _, found := strings.Cut(stderr, "\n")
	if found && strings.Contains(line, "msg=serving") {
		return line + "\n"
	}
	return ""
}
