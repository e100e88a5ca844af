package tests

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// adders are sessions that add one to their counters, again and again, until
// they are told to stop.
type adders struct {
	t        *testing.T
	sessions []*client.Session
	done     []atomic.Int64
	stop     chan struct{}
	adding   sync.WaitGroup
}

func newAdders(t *testing.T, cl *client.Client, n int) *adders {
	t.Helper()
	a := &adders{t: t, done: make([]atomic.Int64, n), stop: make(chan struct{})}
	for range n {
		a.sessions = append(a.sessions, open(t, cl, "count"))
	}
	for i, s := range a.sessions {
		a.adding.Go(func() {
			for {
				select {
				case <-a.stop:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(context.Background(), long)
				got, err := client.Call[int](ctx, s, "add", 1)
				cancel()
				if want := int(a.done[i].Add(1)); err != nil || got != want {
					t.Errorf("session %d: increment %d was answered %d, %v", i, want, got, err)
					return
				}
			}
		})
	}
	return a
}

// goOn waits until every session has had an answer to a call that began after
// this.
func (a *adders) goOn() {
	a.t.Helper()
	before := make([]int64, len(a.done))
	for i := range a.done {
		before[i] = a.done[i].Load() + 2
	}
	for i := range a.done {
		eventually(a.t, "every session goes on", func() bool { return a.done[i].Load() >= before[i] || a.t.Failed() })
	}
}

// end stops, and compares once more.
func (a *adders) end() {
	a.t.Helper()
	close(a.stop)
	a.adding.Wait()
	total := int64(0)
	for i, s := range a.sessions {
		if got, want := mustCall[int](a.t, s, "add", 1), a.done[i].Load()+1; int64(got) != want {
			a.t.Errorf("session %d has counted %d, want %d", i, got, want)
		}
		total += a.done[i].Load()
	}
	a.t.Logf("%d increments in %d sessions", total, len(a.sessions))
}

// nodeOf serves counters in this process, for a cell.
func nodeOf(t *testing.T, endpoints string, log *slog.Logger) {
	t.Helper()
	run(t, func(ctx context.Context) error {
		return worker.Serve(ctx, worker.Options{Broker: endpoints, Name: "node", Beat: 100 * time.Millisecond, Misses: 50, Logger: log}, counters("count", 70))
	})
}

// dialCell dials an electorate, whose node may not have registered yet.
func dialCell(t *testing.T, url string) *client.Client {
	t.Helper()
	cl := dial(t, url, client.WithRelayOnly())
	eventually(t, "the node is there", func() bool {
		s, err := cl.Open(t.Context(), "count")
		if err == nil {
			closeSession(t, s)
		}
		return err == nil
	})
	return cl
}

// A cell loses its master again and again, by death and by a stop, while 64
// sessions count: none is lost, and no increment.
func TestFailover(t *testing.T) {
	noLeaks(t)
	e := newElectorate(t, 5)
	nodeOf(t, e.url, quiet())
	cl := dialCell(t, e.url)
	a := newAdders(t, cl, 64)
	a.goOn()
	master := e.all[0]
	for i, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP, syscall.SIGKILL} {
		began := time.Now()
		master.signal(how)
		next, turn := e.master(master)
		elected := time.Since(began)
		a.goOn()
		went := time.Since(began)
		closeSession(t, open(t, cl, "count"))
		opened := time.Since(began)
		t.Logf("%v: master of epoch %d after %.1f ms, all sessions go on after %.1f ms, an open took until %.1f ms",
			how, turn.epoch, ms(elected), ms(went), ms(opened))
		if turn.epoch != i+2 {
			t.Errorf("epoch %d, want %d", turn.epoch, i+2)
		}
		<-master.ended // stopped or not
		master = next
	}
	a.end()
}

// A master that ends as it should lets go of the lock: nobody waits for the
// limit.
func TestMasterEnds(t *testing.T) {
	noLeaks(t)
	e := newElectorate(t, 3, "LIMIT=60000")
	nodeOf(t, e.url, quiet())
	a := newAdders(t, dialCell(t, e.url), 4)
	a.goOn()
	e.all[0].leave()
	e.master(e.all[0])
	a.goOn()
	a.end()
}

// cut has some candidates and the rest not hear each other.
func (e *electorate) cut(some ...*candidate) {
	for _, c := range e.all {
		var deaf []*candidate
		for _, o := range e.all {
			if slices.Contains(some, c) != slices.Contains(some, o) {
				deaf = append(deaf, o)
			}
		}
		c.loses(deaf...)
	}
}

func none(t *testing.T, when string, e *electorate, role string, but ...*candidate) {
	t.Helper()
	for i, c := range e.all {
		for _, turn := range c.turns() {
			if turn.to == role {
				t.Errorf("%s candidate %d is %s by %d votes of %d", when, i, role, turn.votes, turn.of)
			}
		}
	}
}

// Five candidates, of which four are asked about a stopped master. Where the
// post between them is cut in halves, or two of them are stopped as well, no
// side has three votes.
func TestMinorityKillsNobody(t *testing.T) {
	for name, prevent := range map[string]func(e *electorate) (undo func()){
		"cut off": func(e *electorate) func() {
			e.cut(e.all[1], e.all[2])
			return func() {
				for _, c := range e.all[1:] { // the master is stopped, and obeys nobody
					c.loses()
				}
			}
		},
		"stopped": func(e *electorate) func() {
			e.all[1].signal(syscall.SIGSTOP)
			e.all[2].signal(syscall.SIGSTOP)
			return func() {
				e.all[1].signal(syscall.SIGCONT)
				e.all[2].signal(syscall.SIGCONT)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			e := newElectorate(t, 5)
			undo := prevent(e)
			e.all[0].signal(syscall.SIGSTOP)
			for _, c := range e.all[3:] {
				c.becomes("voting")
			}
			time.Sleep(2 * electorateLimit) // that nothing happens takes time: two limits
			none(t, "by a minority", e, "killing")
			if !e.all[0].lives() {
				t.Fatal("the master is dead")
			}
			undo()
			if next, turn := e.master(e.all[0]); turn.epoch != 2 {
				t.Errorf("%s is master of epoch %d once a majority is there, want 2", next.id, turn.epoch)
			}
			<-e.all[0].ended
		})
	}
}

// A pair has nobody to confirm what it hears.
func TestPair(t *testing.T) {
	for _, may := range []bool{false, true} {
		t.Run(fmt.Sprint("kills: ", may), func(t *testing.T) {
			noLeaks(t)
			env := []string{}
			if may {
				env = append(env, "PAIR=1")
			}
			e := newElectorate(t, 2, env...)
			e.all[0].signal(syscall.SIGSTOP)
			e.all[1].becomes("voting")
			if may {
				e.all[1].becomes("master")
				<-e.all[0].ended
				return
			}
			time.Sleep(2 * electorateLimit) // see TestMinorityKillsNobody
			none(t, "alone", e, "killing")
			e.all[0].signal(syscall.SIGCONT)
			e.all[1].becomes("following")
			e.all[0].kill()
			e.all[1].becomes("master") // nobody is asked about the dead
		})
	}
}

// refusals counts what a node refuses because of its epoch.
type refusals struct {
	slog.Handler
	n *atomic.Int64
}

func (r refusals) Handle(ctx context.Context, m slog.Record) error {
	if m.Message == "outdated master refused" {
		r.n.Add(1)
	}
	return r.Handler.Handle(ctx, m)
}

func (r refusals) Enabled(context.Context, slog.Level) bool { return true }

// A master is stopped, loses its lock to a thief and is not killed; the next one
// takes over at another endpoint, for the first one still has its own. When it
// goes on, the node refuses whatever it says, and it stands by; an open that it
// had in its hands comes to nothing. Twenty times, each of the two in turn.
func TestFormerMasterIsRefused(t *testing.T) {
	noLeaks(t)
	e := newElectorate(t, 0)
	urls := []string{freePort(t), freePort(t)}
	for i, url := range urls {
		e.join("LISTEN="+url, "HARMLESS=1", "PAIR=1", "LIMIT=100", "BIND=30000").becomes([]string{"master", "following"}[i])
	}
	refused := refusals{slog.NewTextHandler(devNull{}, nil), new(atomic.Int64)}
	nodeOf(t, strings.Join(urls, ","), slog.New(refused))
	cl := dialCell(t, strings.Join(urls, ","))
	s := open(t, cl, "count")
	old, silent := 0, 0
	rounds := 20
	for round := 1; round <= rounds; round++ {
		former, next := e.all[old], e.all[1-old]
		former.signal(syscall.SIGSTOP)
		if err := os.Remove(filepath.Join(e.dir, "lock")); err != nil {
			t.Fatal(err)
		}
		if turn := next.becomes("master"); turn.epoch != round+1 {
			t.Fatalf("round %d: master of epoch %d", round, turn.epoch)
		}
		// The node knows the next one as soon as a call goes by it.
		if got := mustCall[int](t, s, "add", 1); got != round {
			t.Fatalf("round %d: counted %d", round, got)
		}
		before := refused.n.Load()
		former.signal(syscall.SIGCONT)
		former.becomes("standing-by")
		former.becomes("following")
		if refused.n.Load() == before { // it had heard of the next one before it could say a word
			silent++
		}
		if silent == rounds && rounds < 100 {
			rounds++ // until one does
		}
		old = 1 - old
	}
	if silent == rounds {
		t.Error("no former master has been refused")
	}
	t.Logf("%d refusals; %d of %d former masters stood by before they had said anything", refused.n.Load(), silent, rounds)
	if got := mustCall[int](t, s, "add", 1); got != rounds+1 {
		t.Errorf("counted %d, want %d", got, rounds+1)
	}
	t.Logf("%d messages refused", refused.n.Load())
}

// A candidate of another cell finds the endpoint taken. It says by whom, gives up
// in time, and the cell that was first does not notice.
func TestTwoCellsOnOneEndpoint(t *testing.T) {
	noLeaks(t)
	e := newElectorate(t, 1)
	other := &electorate{t: t, dir: filepath.Join(t.TempDir(), "other"), url: e.url}
	c := other.join("BIND=300")
	c.becomes("master")
	line := ""
	for said := range c.lines {
		line = said
	}
	for _, part := range []string{"failed:", other.dir, e.url, "in use", fmt.Sprintf("process %d", e.all[0].pid())} {
		if !contains(line, part) {
			t.Errorf("it ends with %q, which does not name %q", line, part)
		}
	}
	<-c.ended
	if turns := e.all[0].turns(); len(turns) > 0 || !e.all[0].lives() {
		t.Errorf("the first cell's master noticed: %v", turns)
	}
}

// The lock file is lost or spoilt, and with it the epoch. The next master starts
// from what it can know; the node knows better, and the master raises its epoch
// above that.
func TestEpochIsRaisedAboveWhatANodeKnows(t *testing.T) {
	for name, spoil := range map[string]func(lock string) error{
		"removed": os.Remove,
		"garbage": func(lock string) error { return os.WriteFile(lock, bytes.Repeat([]byte("no lock "), 2000), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			noLeaks(t)
			e := newElectorate(t, 1)
			nodeOf(t, e.url, quiet())
			a := newAdders(t, dialCell(t, e.url), 2)
			for range 3 { // epoch 4, by way of three masters that die
				e.all[len(e.all)-1].kill()
				e.join().becomes("master")
			}
			a.goOn()
			e.all[len(e.all)-1].kill()
			if err := spoil(filepath.Join(e.dir, "lock")); err != nil {
				t.Fatal(err)
			}
			c := e.join()
			if turn := c.becomes("master"); turn.epoch != 1 {
				t.Errorf("it leads under epoch %d, want 1 as nothing can be read", turn.epoch)
			}
			eventually(t, "its epoch is above the node's", func() bool {
				c.ask("status")
				var role string
				var epoch int
				_, _ = fmt.Sscan(c.says("status"), &role, &epoch)
				return role == "master" && epoch == 5
			})
			a.goOn()
			a.end()
		})
	}
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

type devNull struct{}

func (devNull) Write(b []byte) (int, error) { return len(b), nil }
