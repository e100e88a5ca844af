package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

var soakFlag = flag.Bool("soak", false, "run the long forms")

// soak reports whether the long forms are wanted.
func soak() bool { return *soakFlag || os.Getenv("LIMPET_SOAK") != "" }

// roleVariable makes the test binary another process, which says what happens
// on its standard output, one line each, and ends when its standard input does.
const roleVariable = "LIMPET_CHAOS_ROLE"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		goleak.VerifyTestMain(m, ofTheProxy...)
		return
	}
	roles := map[string]func(context.Context, *bufio.Scanner) error{
		"broker": brokerRole, "node": nodeRole, "client": clientRole, "candidate": candidateRole, "burner": burnerRole,
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := roles[role](ctx, bufio.NewScanner(os.Stdin))
	stop()
	if err != nil {
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

// orphaned ends this process when its parent is gone, and hands it the lines
// that the parent says.
func orphaned(in *bufio.Scanner, line func(string)) {
	for in.Scan() {
		line(in.Text())
	}
	os.Exit(3)
}

// brokerRole is a broker. It answers "report" with its status, and "drain NAME
// MS" when the node has been asked.
func brokerRole(ctx context.Context, in *bufio.Scanner) error {
	b, err := listen(broker.Options{
		Listen: os.Getenv("LISTEN"), Beat: millis("BEAT"), Misses: setting("MISSES"), Lease: millis("LEASE"),
		Recovery: millis("RECOVERY"), Queue: setting("QUEUE"), Records: os.Getenv("RECORDS"), Logger: quiet(),
	})
	if err != nil {
		return err
	}
	go orphaned(in, func(line string) { brokerOrder(ctx, b, line) })
	fmt.Println("listens", b.Endpoint())
	return b.Run(ctx)
}

// listen binds. The port's last owner may have been killed a moment ago.
func listen(o broker.Options) (b *broker.Server, err error) {
	for range 200 {
		if b, err = broker.New(o); err == nil {
			return b, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, err
}

func brokerOrder(ctx context.Context, b *broker.Server, line string) {
	var node string
	var deadline int
	if _, err := fmt.Sscanf(line, "drain %s %d", &node, &deadline); err == nil {
		_, err := b.DrainNode(ctx, node, time.Duration(deadline)*time.Millisecond)
		fmt.Println("drains", err)
		return
	}
	s, err := b.Status(ctx)
	if err != nil {
		fmt.Println("failed:", err)
		return
	}
	text, err := json.Marshal(report{s, s.Counts})
	if err != nil {
		fmt.Println("failed:", err)
		return
	}
	fmt.Println("report", string(text))
}

// report is what a broker process says of itself.
type report struct {
	Status core.Status `json:"status"`
	Counts core.Counts `json:"counts"`
}

// pool is one pool's line.
func (r report) pool(name string) core.PoolStatus {
	for _, p := range r.Status.Pools {
		if p.Pool == name {
			return p
		}
	}
	return core.PoolStatus{}
}

// nodeRole serves the pools that POOLS names. It answers every line with the
// bytes that it uses.
func nodeRole(ctx context.Context, in *bufio.Scanner) error {
	go orphaned(in, func(string) {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Println("heap", m.HeapAlloc)
	})
	var pools []worker.Served
	for name := range strings.SplitSeq(os.Getenv("POOLS"), ",") {
		p, err := poolOf(name, setting("SLOTS"), millis("POOL_LEASE"))
		if err != nil {
			return err
		}
		pools = append(pools, p)
	}
	return worker.Serve(ctx, worker.Options{
		Broker: os.Getenv("BROKER"), Name: os.Getenv("NAME"), Beat: millis("BEAT"), Misses: setting("MISSES"),
		Grace: millis("GRACE"), Records: os.Getenv("RECORDS"), Logger: quiet(),
	}, pools...)
}

// clientRole takes a place of each kind: an open session, one in a queue, and
// one that is just being offered. It says so, and keeps them.
func clientRole(ctx context.Context, in *bufio.Scanner) error {
	cl, err := client.Dial(ctx, os.Getenv("BROKER"), client.WithRelayOnly(), client.WithLogger(quiet()))
	if err != nil {
		return err
	}
	s, err := cl.Open(ctx, "count")
	if err != nil {
		return err
	}
	fmt.Println("opened", s.ID())
	for _, pool := range []string{"busy", "slow"} {
		go func() {
			_, err := cl.Open(ctx, pool, client.WithPlace(func(place int) { fmt.Println("queued", pool, place) }))
			fmt.Println("ended", pool, err)
		}()
	}
	orphaned(in, func(string) {})
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
	c := &child{t: t, cmd: exec.Command(self), lines: make(chan string, 10_000), ended: make(chan struct{})}
	c.cmd.Env = append(os.Environ(), append(env, roleVariable+"="+role, "GORACE=atexit_sleep_ms=0")...) // else it ends a second late
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go c.read(out)
	t.Cleanup(c.kill)
	return c
}

func (c *child) read(out io.Reader) {
	defer close(c.ended)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<26)
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

// terminate ends it as an operator does, and wants it to end well.
func (c *child) terminate() {
	c.t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		c.t.Fatal(err)
	}
	c.ends()
}

// ends waits until it has ended by itself, and wants that to be without an
// error.
func (c *child) ends() {
	c.t.Helper()
	select {
	case <-c.ended:
		if !c.cmd.ProcessState.Success() {
			c.t.Errorf("process %d ended with %v", c.pid(), c.cmd.ProcessState)
		}
	case <-time.After(long):
		c.t.Fatalf("process %d does not end", c.pid())
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

// lives fails the test if the process has ended, with what it said last.
func (c *child) lives() {
	c.t.Helper()
	select {
	case <-c.ended:
		last := ""
		for line := range c.lines {
			last = line
		}
		c.t.Fatalf("process %d has ended: %s", c.pid(), last)
	default: // it runs
	}
}

func (c *child) tell(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		c.t.Fatal(err)
	}
}

// report asks a broker process for its status.
func (c *child) report() (r report) {
	c.t.Helper()
	c.tell("report")
	if err := json.Unmarshal([]byte(c.says("report")), &r); err != nil {
		c.t.Fatal(err)
	}
	return r
}

// heap asks a node process for the bytes that it uses.
func (c *child) heap() (n int) {
	c.t.Helper()
	c.tell("heap")
	if _, err := fmt.Sscan(c.says("heap"), &n); err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *child) pid() int { return c.cmd.Process.Pid }
