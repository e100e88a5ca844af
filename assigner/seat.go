package assigner

import (
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// node is one known node process.
type node struct {
	id       session.NodeID
	name     string
	labels   map[string]string
	draining bool
	away     bool
	joined   uint64           // order of the first Join
	seats    map[string]*seat // by pool
}

// seat is what one node gives to one pool: slots and how many of them are in
// use. Only counts are kept, never a record a slot.
type seat struct {
	node *node
	pool *pool
	host *host

	serves    bool // false: no longer offered, kept only until its last slot is back
	slots     int
	used      int
	lastGrant uint64    // the table's grant number, 0 = never
	held      time.Time // not offered before; meaningful while in Table.holds

	value    string  // as its node said last
	number   float64 // of it
	numbered bool    // it is one

	announced bool // may give, and the parked lines that it suits know

	readyPlace, holdPlace int // in host.ready and in Table.holds
}

// mayGive tells whether Grants may take a slot here.
func (s *seat) mayGive() bool {
	return s.serves && s.used < s.slots && !s.node.draining && !s.node.away && s.holdPlace == 0
}

func (s *seat) free() int { return max(0, s.slots-s.used) }

// suits tells whether the requests of a line may be given to this seat's node.
func (s *seat) suits(l *line) bool {
	return s.matches(l.labels) && (l.want == "" || s.pool.policy == Equal && s.value == l.want)
}

// matches tells whether the seat's node has every label that is asked for.
func (s *seat) matches(labels map[string]string) bool {
	for k, v := range labels {
		if have, ok := s.node.labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// host is the seats of one pool that share a fate. Policies other than Spread
// see a pool as one host.
type host struct {
	name  string
	since uint64 // order of creation
	seats int
	slots int
	used  int

	lastGrant uint64
	ready     heap[*seat] // seats that may give, the best first
	place     int         // in pool.ready
}

func newHost(name string, since uint64, p Policy) *host {
	return &host{name: name, since: since, ready: heap[*seat]{
		before: p.seatBefore,
		place:  func(s *seat) *int { return &s.readyPlace },
	}}
}
