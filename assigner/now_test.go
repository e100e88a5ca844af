package assigner

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// Whoever asks by Now where he can is given what he would have been given by
// Ask and Grants, whatever happens in between.
func TestNowIsAskAndGrants(t *testing.T) {
	for seed := range uint64(300) {
		chance := rand.New(rand.NewPCG(seed, 1))
		policy := Policy(seed % 7)
		quick, slow := New(policy, Limits{}), New(policy, Limits{})
		now, given, atOnce := start, []Grant(nil), 0
		for step := range 400 {
			now = now.Add(time.Duration(chance.IntN(50)) * time.Millisecond)
			switch node := chance.IntN(4) + 1; chance.IntN(10) {
			case 0:
				for _, table := range []*Table{quick, slow} {
					table.Join(offer(node, step%5))
				}
			case 1:
				until := now.Add(time.Second)
				for _, table := range []*Table{quick, slow} {
					table.Hold(session.NodeID(node), "p", until)
				}
			case 2, 3, 4:
				if len(given) == 0 {
					continue
				}
				g := given[0]
				given = given[1:]
				for _, table := range []*Table{quick, slow} {
					table.Free(now, g.Node, g.Pool)
				}
			default:
				r := ask(chance.IntN(3), step)
				r.Deadline = now.Add(200 * time.Millisecond)
				g, ok := quick.Now(now, r)
				if !ok {
					errQuick, errSlow := quick.Ask(now, r), slow.Ask(now, r)
					if (errQuick == nil) != (errSlow == nil) {
						t.Fatalf("seed %d, step %d: Ask says %v and %v", seed, step, errQuick, errSlow)
					}
					break
				}
				if err := slow.Ask(now, r); err != nil {
					t.Fatalf("seed %d, step %d: given at once, and refused: %v", seed, step, err)
				}
				want := slow.Grants(now)
				if len(want) != 1 || want[0].Node != g.Node || want[0].OpenKey != g.OpenKey || want[0].Waited != g.Waited {
					t.Fatalf("seed %d, step %d: given %+v at once, %+v in turn", seed, step, g, want)
				}
				given = append(given, g)
				atOnce++
				continue
			}
			a, b := quick.Grants(now), slow.Grants(now)
			if !slices.EqualFunc(a, b, func(a, b Grant) bool { return a.Node == b.Node && a.OpenKey == b.OpenKey }) {
				t.Fatalf("seed %d, step %d: grants %+v and %+v", seed, step, a, b)
			}
			given = append(given, a...)
		}
		if atOnce == 0 {
			t.Errorf("seed %d: nothing was given at once", seed)
		}
	}
}

// BenchmarkNow is an open that is served at once: Now, Free.
func BenchmarkNow(b *testing.B) {
	tab, now := full(LeastLoaded, 100, 0), start
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(time.Millisecond)
		g, _ := tab.Now(now, ask(i%100, i))
		tab.Free(now, g.Node, g.Pool)
	}
}
