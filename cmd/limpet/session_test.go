package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/limpet-rpc/limpet/broker/core"
)

func TestCallWritesJSON(t *testing.T) {
	c := newCell(t)
	c.serve(t, "bench")
	for _, test := range []struct{ in, args, want string }{
		{"", `call lab echo {"n":18446744073709551615,"f":1.0}`, `{"f":1.0,"n":18446744073709551615}` + "\n"},
		{"", `call lab echo`, "null\n"},
		{"[1,2]", `call lab echo -`, "[1,2]\n"},
		{"", `call lab nested`, `{"7":[{"bytes":"AP8="},null,true,1.5,0.1,"1970-01-01T00:00:01.000000005Z"]}` + "\n"},
		{"\x00\xffx", `call lab bytes --bytes -`, `{"bytes":"AP94"}` + "\n"},
		{"\x00\xffx", `call lab bytes --bytes - --raw`, "\x00\xffx"},
		{"", `call lab echo "text" --raw`, "text"},
		{"", `call lab echo 7 --raw`, "7\n"},
	} {
		if got := c.limpet(t, test.in, strings.Fields(test.args)...); got.out != test.want || got.code != 0 || got.err != "" {
			t.Errorf("%s: %+v, want %q", test.args, got, test.want)
		}
	}
}

// TestPipe is lines from a pipe: one session for all, closed in the end.
func TestPipe(t *testing.T) {
	c := newCell(t)
	c.serve(t, "bench")
	const lines = "add 40\n\n# a remark\n  add\t2  \nfail\nadd x\nadd 100"
	got := c.limpet(t, lines, "session", "lab")
	if got.out != "40\n42\n" || got.code != exitMethod {
		t.Errorf("%+v", got)
	}
	checkLine(t, got.err, []string{"line 5: call fail: method failed"})

	got = c.limpet(t, lines, "session", "lab", "--keep-going")
	if got.out != "40\n42\n142\n" || got.code != exitMethod || strings.Count(got.err, "\n") != 2 ||
		!strings.Contains(got.err, "limpet: line 5: call fail") || !strings.Contains(got.err, "limpet: line 6: argument of add: not JSON") {
		t.Errorf("keep going: %+v", got)
	}
	if got = c.limpet(t, "add 1\nexit\nadd 1\nadd 1\n", "session", "lab", "--keep-going"); got.code != exitLost || strings.Count(got.err, "\n") != 1 {
		t.Errorf("keep going without a worker: %+v", got)
	}
	c.await(t, "no session is left", func(st *core.Status) bool { return len(st.Sessions) == 0 })
}

// TestPipeInterrupted is SIGTERM to a session that waits for its next line.
func TestPipeInterrupted(t *testing.T) {
	c := newCell(t)
	c.serve(t, "bench")
	p := c.onTerminal(t, "session", "lab")
	p.expect("lab> ")
	if err := p.process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.expect("interrupted")
	if code := p.ended(); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
	c.await(t, "no session is left", func(st *core.Status) bool { return len(st.Sessions) == 0 })
}

// TestPrompt is a session on a terminal: history, an error that does not end
// it, Ctrl-C that cancels a call, Ctrl-C at the prompt that leaves.
func TestPrompt(t *testing.T) {
	c := newCell(t)
	c.serve(t, "bench")
	p := c.onTerminal(t, "session", "lab")
	p.expect("of node bench, process ")
	p.expect("lab> ")
	p.write("add 40\r")
	p.expect("40\r\n")
	p.expect("lab> ")
	p.write("fail\r")
	p.expect("limpet: call fail: method failed")
	p.expect("lab> ")
	p.write("\x1b[A\x1b[A\r") // up, up
	p.expect("80\r\n")
	p.expect("lab> ")
	p.write("wait\r")
	c.await(t, "the call runs", func(st *core.Status) bool { return len(st.Sessions) == 1 })
	p.expect("wait\r\n")
	p.interruptWhenCooked()
	p.expect("limpet: call wait: cancelled")
	p.expect("lab> ")
	p.write("add 1\r")
	p.expect("81\r\n")
	p.expect("lab> ")
	p.write("\x03")
	if code := p.ended(); code != exitOK {
		t.Errorf("exit code %d", code)
	}
	c.await(t, "no session is left", func(st *core.Status) bool { return len(st.Sessions) == 0 })
}

// TestPromptLosesItsWorker is a worker process that dies under a prompt.
func TestPromptLosesItsWorker(t *testing.T) {
	c := newCell(t)
	c.serve(t, "bench")
	p := c.onTerminal(t, "session", "lab")
	p.expect("lab> ")
	p.write("exit\r")
	p.expect("limpet: call exit: worker lost")
	p.expect("limpet: the session is over")
	if code := p.ended(); code != exitLost {
		t.Errorf("exit code %d, want %d", code, exitLost)
	}
}

// onTerminal runs limpet on a terminal of its own.
func (c *cell) onTerminal(t *testing.T, args ...string) *pty {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo terminals here: ", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := as(t.Context(), "limpet", args...)
	cmd.Env = append(cmd.Env, "LIMPET_BROKER="+c.broker)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &pty{t: t, master: master, slave: slave, process: cmd.Process}
	p.ended = func() int {
		_ = cmd.Wait() // the code says it
		return cmd.ProcessState.ExitCode()
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = slave.Close()
	})
	return p
}

// pty is a terminal with a program on it.
type pty struct {
	t             *testing.T
	master, slave *os.File
	process       *os.Process
	ended         func() int // waits for the program's exit code
	unread        string
}

func (p *pty) write(keys string) {
	p.t.Helper()
	if _, err := io.WriteString(p.master, keys); err != nil {
		p.t.Fatal(err)
	}
}

// expect waits until the screen has shown text, behind what was expected before.
func (p *pty) expect(text string) {
	p.t.Helper()
	buf := make([]byte, 4096)
	deadline := time.AfterFunc(long, func() { // a terminal that nobody holds any more ends the read
		_ = p.process.Kill()
		_ = p.slave.Close()
	})
	defer deadline.Stop()
	for {
		if _, after, found := strings.Cut(p.unread, text); found {
			p.unread = after
			return
		}
		n, err := p.master.Read(buf)
		if err != nil {
			p.t.Fatalf("%q was not shown, but %q: %v", text, p.unread, err)
		}
		p.unread += string(buf[:n])
	}
}

// interruptWhenCooked presses Ctrl-C once the terminal makes a signal of it.
func (p *pty) interruptWhenCooked() {
	p.t.Helper()
	for deadline := time.Now().Add(long); ; time.Sleep(time.Millisecond) { // a poll, not an event
		state, err := unix.IoctlGetTermios(int(p.slave.Fd()), unix.TCGETS)
		if err != nil {
			p.t.Fatal(err)
		}
		if state.Lflag&unix.ISIG != 0 {
			p.write("\x03")
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatal("the terminal stays raw while a call runs")
		}
	}
}

// TestCallInterrupted is Ctrl-C to a call that runs: it is cancelled, and its
// session closed.
func TestCallInterrupted(t *testing.T) {
	c := newCell(t)
	c.serve(t, "bench")
	p := c.onTerminal(t, "call", "lab", "wait")
	c.await(t, "the session is open", func(st *core.Status) bool { return len(st.Sessions) == 1 })
	p.write("\x03")
	p.expect("limpet: ")
	p.expect("cancelled")
	if code := p.ended(); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
	c.await(t, "no session is left", func(st *core.Status) bool { return len(st.Sessions) == 0 })
}
