package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
)

// tally is how calls ended.
type tally struct{ done, unknown, notRun, noted int }

// queued is a session with calls in its queue: call number n notes n.
type queued struct {
	session *client.Session
	calls   []*client.Pending
}

// startCalls opens sessions with so many calls each.
func startCalls(t *testing.T, cl *client.Client, sessions, calls int) (all []*queued) {
	t.Helper()
	for range sessions {
		q := &queued{session: open(t, cl, "note")}
		for n := range calls {
			q.calls = append(q.calls, q.session.Go(t.Context(), "note", n+1))
		}
		all = append(all, q)
	}
	return all
}

// notes reads what the handlers have noted: by session, the calls in the order
// in which they began.
func notes(t *testing.T, file string) map[string][]int {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	noted := map[string][]int{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var id string
		var n int
		if _, err := fmt.Sscan(lines.Text(), &id, &n); err != nil {
			t.Fatalf("a note %q: %v", lines.Text(), err)
		}
		noted[id] = append(noted[id], n)
	}
	return noted
}

// judge compares how a session's calls ended with what its handler noted.
// Between the start record and the first act of a handler there is a moment in
// which a kill leaves one call that is recorded and not noted.
func (q *queued) judge(t *testing.T, noted []int, sum *tally) {
	t.Helper()
	for i, n := range noted {
		if n != i+1 {
			t.Errorf("session %s noted %v: out of order, or twice", q.session.ID(), noted)
		}
	}
	sum.noted += len(noted)
	for i, p := range q.calls {
		n, began := i+1, i < len(noted)
		err := p.Wait(nil)
		switch {
		case err == nil:
			sum.done++
			if !began {
				t.Errorf("call %d is done and was never begun", n)
			}
		case errors.Is(err, session.NotRun):
			sum.notRun++
			if began {
				t.Errorf("call %d of %d noted had begun and is called not run: %v", n, len(noted), err)
			}
		case errors.Is(err, session.Unknown):
			sum.unknown++
			if n > len(noted)+1 {
				t.Errorf("call %d of %d noted had not begun and is called unknown: %v", n, len(noted), err)
			}
		default:
			t.Errorf("call %d: %v", n, err)
		}
		if err != nil && !errors.Is(err, session.ErrWorkerLost) {
			t.Errorf("call %d ends with %v, want worker lost", n, err)
		}
	}
}

// A node is killed in the middle of a call while others wait behind it. What
// had begun is done or unknown, what had not is not run, whoever reads the
// start record: the broker, or another node of the machine.
func TestKilledNodes(t *testing.T) {
	for _, reader := range []string{"broker", "node"} {
		t.Run("record read by a "+reader, func(t *testing.T) {
			kills := 3
			if soak() {
				kills = 10
			}
			killNodes(t, reader, kills)
		})
	}
}

func killNodes(t *testing.T, reader string, kills int) {
	t.Helper()
	const sessions, calls = 4, 150
	var env []string
	if reader == "node" {
		env = append(env, "RECORDS=off")
	}
	c := newCell(t, append(env, "BEAT=300")...)
	if reader == "node" {
		c.startNode("reader", "count", 1, "BEAT=300")
	}
	cl := dial(t, c.url)
	var sum tally
	for kill := range kills {
		name := fmt.Sprint("node", kill)
		file := filepath.Join(t.TempDir(), "notes")
		pause := fmt.Sprint("PAUSE=", 15*(kill%2)) // calls that take a while, and calls that follow one another at once
		n := c.startNode(name, "note", sessions, "NOTES="+file, pause, "BEAT=300")
		all := startCalls(t, cl, sessions, calls)
		if err := all[rand.IntN(sessions)].calls[rand.IntN(calls/2)].Wait(nil); err != nil {
			t.Fatal(err)
		}
		n.kill()
		noted := notes(t, file)
		for _, q := range all {
			for _, p := range q.calls {
				_ = p.Wait(nil) // judged below, once all have ended
			}
		}
		for _, q := range all {
			q.judge(t, noted[q.session.ID().String()], &sum)
		}
		eventually(t, "the dead node is forgotten", func() bool { return !c.knows(name) })
	}
	if want := kills * sessions * calls; sum.done+sum.unknown+sum.notRun != want {
		t.Errorf("%+v make no %d calls", sum, want)
	}
	if sum.notRun == 0 || sum.done == 0 {
		t.Errorf("the kills came too early or too late to show anything: %+v", sum)
	}
	t.Logf("%d kills, %d calls: %d done, %d unknown, %d not run; handlers had begun %d",
		kills, kills*sessions*calls, sum.done, sum.unknown, sum.notRun, sum.noted)
}
