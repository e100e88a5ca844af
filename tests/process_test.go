package tests

import (
	"bufio"
	"context"
	"encoding/json"
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
	"golang.org/x/sys/unix"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// roleVariable makes the test binary another process: a broker, a node or a
// client, which says what happens on its standard output, one line each, and
// ends when its standard input does.
const roleVariable = "LIMPET_TEST_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		goleak.VerifyTestMain(m)
		return
	}
	roles := map[string]func(context.Context) error{
		"broker": brokerRole, "node": nodeRole, "client": clientRole,
		"isolated": isolatedRole, "sloth": slothRole, "candidate": candidateRole, "herd": herdRole,
		"hooks": hooksRole, "cache": cacheRole, "jobs": jobsRole, "chain": chainRole,
	}
	ctx, cancel := context.WithCancel(context.Background())
	if role != "broker" && role != "candidate" && !worker.InWorkerProcess() {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			cancel()
			time.Sleep(long)
			os.Exit(3) // its parent is gone and it does not end
		}()
	}
	if err := roles[role](ctx); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// setting reads a role's setting: a number, or milliseconds.
func setting(name string) int {
	n, _ := strconv.Atoi(os.Getenv(name))
	return n
}

func millis(name string) time.Duration { return time.Duration(setting(name)) * time.Millisecond }

// report is what a broker process says of itself.
type report struct {
	Status core.Status             `json:"status"`
	Bad    map[session.Code]uint64 `json:"bad"` // what it found wrong, by code
}

// brokerRole answers every line of its standard input with a report.
func brokerRole(ctx context.Context) error {
	b, err := broker.New(broker.Options{
		Listen: os.Getenv("LISTEN"), Beat: millis("BEAT"), Misses: setting("MISSES"), Lease: millis("LEASE"),
		Recovery: millis("RECOVERY"), Logger: quiet(),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			s, err := b.Status(ctx)
			if err != nil {
				return
			}
			line, err := json.Marshal(report{s, s.Counts.Bad})
			if err != nil {
				return
			}
			fmt.Println("report", string(line))
		}
	}()
	fmt.Println("listens", b.Endpoint())
	return b.Run(ctx)
}

// nodeRole serves a tally and a place, and says which blocking calls begin and
// end.
func nodeRole(ctx context.Context) error {
	slots := setting("SLOTS")
	y := newTally("tally", slots, func(c *worker.Config[*counted]) { c.Lease = millis("LEASE") })
	go func() {
		for {
			select {
			case name := <-y.began:
				fmt.Println("began", name)
			case err := <-y.ended:
				fmt.Println("over", err)
			case why := <-y.closes:
				fmt.Println("closed", why)
			}
		}
	}()
	return worker.Serve(ctx, worker.Options{
		Broker: os.Getenv("BROKER"), Name: os.Getenv("NAME"), Labels: map[string]string{"node": os.Getenv("NAME")},
		Beat: millis("BEAT"), Misses: setting("MISSES"), Logger: quiet(),
	}, y.pool, place("a", slots), place("b", slots))
}

// clientRole opens a session and keeps it, or waits for one.
func clientRole(ctx context.Context) error {
	cl, err := client.Dial(ctx, os.Getenv("BROKER"), client.WithLogger(quiet()))
	if err != nil {
		return err
	}
	s, err := cl.Open(ctx, "tally", client.WithPlace(func(place int) { fmt.Println("queued", place) }))
	if err != nil {
		return err
	}
	fmt.Println("opened", s.ID())
	if os.Getenv("CALL") != "" {
		_, err := client.Call[int](ctx, s, "block", "child")
		fmt.Println("ended", err)
	}
	<-ctx.Done()
	return nil
}

// child is one process in a role.
type child struct {
	t     testing.TB
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
	ended chan struct{} // closed when it is gone and waited for
}

// start starts a process in a role; it is gone when the test ends.
func start(t testing.TB, role string, env ...string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), append(env, roleVariable+"="+role)...)
	return startCommand(t, cmd)
}

func startCommand(t testing.TB, cmd *exec.Cmd) *child {
	t.Helper()
	c := &child{t: t, cmd: cmd, lines: make(chan string, 10_000), ended: make(chan struct{})}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.in = in
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go c.read(out)
	t.Cleanup(c.kill)
	return c
}

func (c *child) read(out io.Reader) {
	defer close(c.ended)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		c.lines <- lines.Text()
	}
	close(c.lines)
	_ = c.cmd.Wait() // how it ended is what the test made it do
}

// kill ends it as kill -9 does.
func (c *child) kill() {
	_ = c.cmd.Process.Kill()
	<-c.ended
	_ = c.in.Close()
}

// leave lets it end by itself, and checks that it does so without an error.
func (c *child) leave() {
	c.t.Helper()
	_ = c.in.Close()
	select {
	case <-c.ended:
		if !c.cmd.ProcessState.Success() {
			c.t.Errorf("%v ended with %v", c.cmd.Args, c.cmd.ProcessState)
		}
	case <-time.After(long):
		c.t.Errorf("%v does not end", c.cmd.Args)
	}
}

func (c *child) signal(s syscall.Signal) {
	c.t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		c.t.Fatal(err)
	}
	if s != syscall.SIGSTOP {
		return
	}
	// Until all of its threads have heard of it, some of them go on.
	for {
		if err := unix.Waitid(unix.P_PID, c.pid(), nil, unix.WSTOPPED, nil); !errors.Is(err, unix.EINTR) {
			return // one that has been killed meanwhile is the test's to notice
		}
	}
}

// says waits for a line that begins with the word, and returns what follows it.
func (c *child) says(word string) string {
	c.t.Helper()
	for {
		line := await(c.t, c.lines, word)
		first, rest, _ := strings.Cut(line, " ")
		switch first {
		case word:
			return rest
		case "failed:":
			c.t.Fatal(line)
		}
	}
}

// report asks a broker process for its status.
func (c *child) report() (r report) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, "report\n"); err != nil {
		c.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(c.says("report")), &r); err != nil {
		c.t.Fatal(err)
	}
	return r
}

func (c *child) pid() int { return c.cmd.Process.Pid }
