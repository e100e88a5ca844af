package sim

import (
	"fmt"
	"runtime/debug"
	"testing"

	"github.com/limpet-rpc/limpet/session"
)

// killsLeast is how many nodes with calls in flight are killed.
const killsLeast = 1000

// TestKilledNodes kills nodes in the middle of calls while others wait behind
// them, among all other faults. What had begun is done or unknown and never not
// run; what the start record shows as not started is not run.
func TestKilledNodes(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(800))
	var sum tally
	worlds, failed := 0, 0
	for sum.kills < killsLeast && failed < failuresMost {
		runAll(uint64(1+worlds), 32, newKilling, func(seed uint64, w *World) (more bool) {
			worlds++
			err := w.failure
			for i := 0; i < len(w.truth.kills) && err == nil; i++ {
				err = sum.add(&w.truth.kills[i])
			}
			if err != nil {
				failed++
				t.Errorf("world %d: %v\n  %s", seed, err, w.plan.String())
			}
			return failed < failuresMost
		})
	}
	t.Logf("%d worlds: %s", worlds, &sum)
	sum.demand(t)
}

// newKilling is a world like any other, in which nodes are killed all the time
// and users make many calls at once.
func newKilling(seed uint64) *World {
	w := newWorld(seed, nil)
	w.plan.nodeCrashes, w.plan.bursts, w.plan.long = 20, true, true
	return w
}

// tally is how the calls ended that were in flight on nodes that were killed.
type tally struct {
	kills, byNode, byBroker, unread int // by who read the start record, if anybody did
	done, unknown, notRun           int
	doubted                         int // unknown, although the record was read and they had not begun
}

// add judges one kill, after the end of its world.
func (s *tally) add(k *kill) error {
	s.kills++
	switch g := &k.node.grave; {
	case g.read == 0:
		s.unread++
	case g.reader != "":
		s.byNode++
	default:
		s.byBroker++
	}
	for _, c := range k.calls {
		if !c.client.alive {
			continue // nobody waited for its end
		}
		if !s.judge(k, c) {
			return fmt.Errorf("work %d, in flight on %s when that was killed, ran %d times and ended as %s (%v)", c.id, k.node.name, c.runs, c.outcome.Error(), c.ended)
		}
	}
	return nil
}

// judge reports whether the end of a call is true.
func (s *tally) judge(k *kill, c *callRecord) bool {
	switch {
	case !c.ended:
		return false
	case c.outcome == session.Done:
		s.done++
		return c.runs == 1
	case c.outcome == session.NotRun:
		s.notRun++
		return c.runs == 0
	}
	s.unknown++
	if c.runs == 0 && k.node.grave.read > 0 {
		s.doubted++
	}
	return c.runs <= 1
}

// demand says where the counts are too small, or too much the same, to show
// anything. A record that is read in vain comes too late, or its reader dies
// too, or there is another broker, or a caller who does not wait.
func (s *tally) demand(t *testing.T) {
	t.Helper()
	if s.kills < killsLeast || s.byNode < killsLeast/10 || s.byBroker < killsLeast/10 || s.unread < killsLeast/50 {
		t.Error("too few kills of some kind")
	}
	if s.done < killsLeast/50 || s.unknown-s.doubted < killsLeast/2 || s.notRun < killsLeast || s.doubted > s.notRun/4 {
		t.Error("the calls' ends show little")
	}
}

func (s *tally) String() string {
	return fmt.Sprintf("%d kills of nodes with calls in flight (start record read by a node %d, by a broker %d, by nobody %d); calls: %d done, %d unknown (%d of them had not begun, and the record was read), %d not run",
		s.kills, s.byNode, s.byBroker, s.unread, s.done, s.unknown, s.doubted, s.notRun)
}
