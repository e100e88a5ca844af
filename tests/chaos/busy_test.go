package chaos

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	mastercell "github.com/limpet-rpc/limpet/broker/cell"
)

// candidateRole is a broker of a cell. It says every change of its role.
func candidateRole(ctx context.Context, in *bufio.Scanner) error {
	c, err := mastercell.Join(mastercell.Options{
		Dir: os.Getenv("CELL"), Limit: millis("LIMIT"), Logger: quiet(), Broker: broker.Options{Listen: os.Getenv("LISTEN")},
		Event: func(e mastercell.Event) {
			fmt.Println("turn", strings.ReplaceAll(e.To.String(), " ", "-"), e.Votes, e.Of)
		},
	})
	if err != nil {
		return err
	}
	go orphaned(in, func(string) {})
	fmt.Println("joined")
	return c.Run(ctx)
}

// burnerRole keeps every core busy with what never lets go of it.
func burnerRole(_ context.Context, in *bufio.Scanner) error {
	for range runtime.NumCPU() {
		go func() {
			for n := 1; ; n = n*1664525 + 1013904223 {
				if n == 0 {
					runtime.Gosched()
				}
			}
		}()
	}
	fmt.Println("burns")
	orphaned(in, func(string) {})
	return nil
}

// A master that is busy, on a machine whose cores are all taken, beats: it is
// never voted about, let alone killed, while candidates are stopped for two
// seconds at a time, in turn.
func TestBusyMasterIsLeftAlone(t *testing.T) {
	d := 30 * time.Second
	if soak() {
		d = 10 * time.Minute
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listen := "tcp://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	env := []string{"CELL=" + filepath.Join(t.TempDir(), "cell"), "LISTEN=" + listen, "LIMIT=1000"}
	var all []*child
	for i := range 5 {
		c := start(t, "candidate", env...)
		c.says("joined")
		for i == 0 && !strings.HasPrefix(c.says("turn"), "master ") { // before there is a second one
			continue
		}
		all = append(all, c)
	}
	for range 2 {
		start(t, "burner").says("burns")
	}
	stops := 0
	for end := time.Now().Add(d); time.Now().Before(end); stops++ {
		c := all[1+stops%4]
		send(t, c, syscall.SIGSTOP)
		time.Sleep(2 * time.Second) // the stop itself
		send(t, c, syscall.SIGCONT)
		time.Sleep(500 * time.Millisecond) // how long it goes on before the next one is stopped
	}
	masters := 1 // the first
	for i, c := range slices.Backward(all) {
		c.kill() // the master last: nobody is left to take over
		for line := range c.lines {
			var role string
			var votes, of int
			_, _ = fmt.Sscan(strings.TrimPrefix(line, "turn "), &role, &votes, &of)
			switch role {
			case "killing", "taking":
				t.Errorf("candidate %d was %s by %d votes of %d", i, role, votes, of)
			case "master":
				masters++
			}
		}
	}
	if masters != 1 {
		t.Errorf("%d masters, want the first and no other", masters)
	}
	t.Logf("%d stops of candidates in %v: %d elections after the first", stops, d, masters-1)
}

func send(t *testing.T, c *child, s syscall.Signal) {
	t.Helper()
	if err := c.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}
