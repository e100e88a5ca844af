package assigner

import (
	"fmt"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/session"
)

func full(p Policy, nodes, waiting int) *Table {
	tab := New(p, Limits{Queue: 2*waiting + 100})
	for i := range nodes {
		tab.Join(offer(i+1, 8))
	}
	if waiting == 0 {
		return tab
	}
	for i := range nodes * 8 {
		tab.Take(session.NodeID(i%nodes+1), "p")
	}
	for i := range waiting {
		_ = tab.Ask(start, ask(i%100, i))
	}
	return tab
}

// BenchmarkCycle is an open that is served at once: Ask, Grants, Free.
func BenchmarkCycle(b *testing.B) {
	for _, p := range []Policy{LeastLoaded, RoundRobin, Pack, Spread} {
		for _, nodes := range []int{1, 100, 1000} {
			b.Run(fmt.Sprintf("%v/nodes=%d", p, nodes), func(b *testing.B) {
				tab, now := full(p, nodes, 0), start
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					now = now.Add(time.Millisecond)
					_ = tab.Ask(now, ask(i%100, i))
					for _, g := range tab.Grants(now) {
						tab.Free(now, g.Node, g.Pool)
					}
				}
			})
		}
	}
}

// BenchmarkCycleLabels is the same with a label that one node in ten has.
func BenchmarkCycleLabels(b *testing.B) {
	tab, now := full(LeastLoaded, 1000, 0), start
	labels := map[string]string{"zone": "a"}
	for i := range 100 {
		n := offer(i*10+1, 8)
		n.Labels = labels
		tab.Join(n)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		now = now.Add(time.Millisecond)
		r := ask(i%100, i)
		r.Labels = labels
		_ = tab.Ask(now, r)
		for _, g := range tab.Grants(now) {
			tab.Free(now, g.Node, g.Pool)
		}
	}
}

// BenchmarkQueued is the cycle with all slots in use and 10,000 waiting: one
// more asks, one slot comes free, one is served.
func BenchmarkQueued(b *testing.B) {
	for _, nodes := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			tab, now := full(LeastLoaded, nodes, 10_000), start
			b.ReportAllocs()
			for i := 10_000; b.Loop(); i++ {
				now = now.Add(time.Millisecond)
				_ = tab.Ask(now, ask(i%100, i))
				tab.Free(now, session.NodeID(i%nodes+1), "p")
				if len(tab.Grants(now)) != 1 {
					b.Fatal("not served")
				}
			}
		})
	}
}

func BenchmarkGrantsUnchanged(b *testing.B) {
	tab := full(LeastLoaded, 100, 10_000)
	b.ReportAllocs()
	for b.Loop() {
		tab.Grants(start)
	}
}

func BenchmarkPlaceAfterChange(b *testing.B) {
	tab := full(LeastLoaded, 100, 10_000)
	b.ReportAllocs()
	for i := 10_000; b.Loop(); i++ {
		_ = tab.Ask(start, ask(7, i))
		tab.Place(key(7, i))
		tab.Withdraw(key(7, i))
	}
}
