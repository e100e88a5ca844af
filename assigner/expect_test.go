package assigner

import "testing"

func TestExpectedPoolWaitsForItsNodes(t *testing.T) {
	tab := New(LeastLoaded, Limits{})
	tab.Expect("p")
	due := ask(1, 2)
	due.Deadline = at(1)
	mustAsk(t, tab, at(0), ask(1, 1), due, ask(2, 1))
	tab.Grants(at(2)) // one is past its deadline and not collected
	tab.Expect("p")
	want(t, "nobody came", names(tab.Desert("p")), "1.1 1.2 2.1")
	want(t, "expired too", len(tab.Expired(at(9))), 0)
	wantErr(t, tab.Ask(at(3), ask(1, 1)), ErrPoolUnknown)

	tab.Expect("p")
	mustAsk(t, tab, at(4), ask(1, 1))
	tab.Join(offer(1, 0))
	want(t, "has a node", len(tab.Desert("p")), 0)
	tab.Join(offer(1, 1))
	want(t, "came", names(granted(tab.Grants(at(5)))), "1.1")
}
