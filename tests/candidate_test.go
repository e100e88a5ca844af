package tests

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	mastercell "github.com/limpet-rpc/limpet/broker/cell"
	"github.com/limpet-rpc/limpet/heartbeat"
)

// candidateRole is a broker of a cell. It says what its role is whenever that
// changes, and obeys
//
//	lose ID…   notes to these candidates, and to no others, get lost
//	status     one line: role, epoch, candidates recorded
func candidateRole(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	var lost []heartbeat.Candidate
	o := mastercell.Options{
		Dir: os.Getenv("CELL"), Limit: millis("LIMIT"), PairKills: os.Getenv("PAIR") != "", Bind: millis("BIND"),
		Broker: broker.Options{Listen: os.Getenv("LISTEN"), Beat: millis("BEAT"), Misses: setting("MISSES"), Recovery: millis("RECOVERY")},
		Logger: quiet(),
		Event:  func(e mastercell.Event) { fmt.Println("turn", word(e.To), e.About.Epoch, e.Votes, e.Of, e.PID) },
		Faults: mastercell.Faults{Lose: func(to heartbeat.Candidate) bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.Contains(lost, to)
		}},
	}
	if os.Getenv("HARMLESS") != "" {
		o.Faults.Kill = func(h heartbeat.Holder) { fmt.Println("spared", h.Epoch) }
	}
	c, err := mastercell.Join(o)
	if err != nil {
		return err
	}
	fmt.Println("candidate", uint64(c.Status().Self))
	go func() {
		defer cancel()
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			words := strings.Fields(in.Text())
			switch words[0] {
			case "lose":
				list := make([]heartbeat.Candidate, 0, len(words))
				for _, w := range words[1:] {
					var id uint64
					_, _ = fmt.Sscan(w, &id)
					list = append(list, heartbeat.Candidate(id))
				}
				mu.Lock()
				lost = list
				mu.Unlock()
				fmt.Println("loses", len(list))
			case "status":
				s := c.Status()
				fmt.Println("status", word(s.Role), s.Epoch, len(s.Candidates))
			}
		}
	}()
	return c.Run(ctx)
}

func word(r heartbeat.Role) string { return strings.ReplaceAll(r.String(), " ", "-") }

// candidate is a candidate's process, as the test sees it.
type candidate struct {
	*child
	id string
}

// turn is a change of role: to what, about which epoch, by how many votes.
type turn struct {
	to                    string
	epoch, votes, of, pid int
}

func parseTurn(text string) (t turn) {
	_, _ = fmt.Sscan(text, &t.to, &t.epoch, &t.votes, &t.of, &t.pid)
	return t
}

// becomes waits until it says that its role is one of these.
func (c *candidate) becomes(roles ...string) turn {
	c.t.Helper()
	for {
		if t := parseTurn(c.says("turn")); slices.Contains(roles, t.to) {
			return t
		}
	}
}

// turns are the changes of role that it has said and nobody has read.
func (c *candidate) turns() (list []turn) {
	for {
		select {
		case line, ok := <-c.lines:
			if text, is := strings.CutPrefix(line, "turn "); is {
				list = append(list, parseTurn(text))
			}
			if !ok {
				return list
			}
		default:
			return list
		}
	}
}

func (c *candidate) ask(line string) {
	c.t.Helper()
	if _, err := fmt.Fprintln(c.in, line); err != nil {
		c.t.Fatal(err)
	}
}

// loses has its notes to these get lost.
func (c *candidate) loses(to ...*candidate) {
	c.t.Helper()
	line := "lose"
	for _, o := range to {
		line += " " + o.id
	}
	c.ask(line)
	c.says("loses")
}

// electorate are the candidates of one cell.
type electorate struct {
	t   *testing.T
	dir string
	url string
	env []string
	all []*candidate
}

// electorateLimit is how long a master may be silent: longer than a busy machine
// keeps one from its work.
const electorateLimit = time.Second

// newElectorate starts n candidates, the first of them is master. Env are
// settings of theirs.
func newElectorate(t *testing.T, n int, env ...string) *electorate {
	t.Helper()
	e := &electorate{t: t, dir: filepath.Join(t.TempDir(), "cell"), url: freePort(t), env: env}
	for i := range n {
		c := e.join()
		if i == 0 {
			c.becomes("master")
		} else {
			c.becomes("following")
		}
	}
	for _, c := range e.all {
		eventually(t, "all candidates know each other", func() bool {
			c.ask("status")
			return strings.HasSuffix(c.says("status"), fmt.Sprint(" ", n))
		})
	}
	return e
}

func (e *electorate) join(env ...string) *candidate {
	e.t.Helper()
	own := []string{"CELL=" + e.dir, "LISTEN=" + e.url, fmt.Sprint("LIMIT=", electorateLimit.Milliseconds())}
	p := start(e.t, "candidate", slices.Concat(own, quick, e.env, env)...)
	c := &candidate{p, p.says("candidate")}
	e.all = append(e.all, c)
	return c
}

// master waits for the next master among those that are not one of these.
func (e *electorate) master(but ...*candidate) (*candidate, turn) {
	e.t.Helper()
	end := time.Now().Add(long)
	for time.Now().Before(end) {
		for _, c := range e.all {
			if slices.Contains(but, c) {
				continue
			}
			for _, t := range c.turns() {
				if t.to == "master" {
					return c, t
				}
			}
		}
		time.Sleep(time.Millisecond) // a poll of several, not an event
	}
	e.t.Fatal("nobody becomes master")
	panic("unreachable")
}

// freePort names an endpoint that was free a moment ago.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return "tcp://" + l.Addr().String()
}

// lives reports whether a process has not ended.
func (c *candidate) lives() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}
