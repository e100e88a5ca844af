package assigner

import (
	"math"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
)

const (
	maxPriority = 8
	priorities  = 2*maxPriority + 1
)

// waiter is one request in the queue, or overdue and not yet collected.
type waiter struct {
	Request
	asked    time.Time
	since    int64  // asked on the table's ageing clock, ns
	seq      uint64 // order of Ask, breaks every tie
	returned bool   // was granted, came back: has had its turn
	overdue  bool   // out of its lane, waits for Expired to collect it

	lane          *lane // nil once overdue
	prev, next    *waiter
	deadlinePlace int
	place         int // in the order of service, while pool.ordered
}

// list is the waiters of a lane in their order.
type list struct{ first, last *waiter }

func (l *list) append(w *waiter) {
	w.prev, w.next = l.last, nil
	if l.last == nil {
		l.first = w
	} else {
		l.last.next = w
	}
	l.last = w
}

func (l *list) remove(w *waiter) {
	if w.prev == nil {
		l.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
}

// client is what a pool remembers of one client while it has requests waiting
// there, and no longer.
type client struct {
	id      uuid.UUID
	waiting int
	turn    uint64            // when it last had its turn (or joined): the smallest is next
	served  [priorities]int64 // last grant by priority, on the ageing clock
}

// rank is where a request stands: the smallest is served first.
type rank struct {
	band int64  // asking (or last served) time in ageing steps, minus the priority
	turn uint64 // of the client
	seq  uint64 // of the request
}

func (a rank) before(b rank) bool {
	if a.band != b.band {
		return a.band < b.band
	}
	if a.turn != b.turn {
		return a.turn < b.turn
	}
	return a.seq < b.seq
}

// rankOf is the rank of w for a client with that turn which was last served at
// that priority at served. It does not change while the client waits: to gain
// a step of priority and to have asked one step of time earlier is the same.
func (w *waiter) rankOf(aging time.Duration, turn uint64, served int64) rank {
	since := max(w.since, served)
	if w.returned {
		since, turn = w.since, 0
	}
	return rank{band: steps(since, aging) - int64(w.Priority), turn: turn, seq: w.seq}
}

// steps counts whole ageing steps, rounding down also before zero.
func steps(at int64, aging time.Duration) int64 {
	if aging < 0 {
		return 0
	}
	n := at / int64(aging)
	if at%int64(aging) < 0 {
		n--
	}
	return n
}

// lane is the requests of one client at one priority for one set of labels,
// first come first served; one that was returned has a lane of its own.
type lane struct {
	line   *line
	client *client
	key    laneKey
	list
	rank  rank // of the first, or a smaller one if the client was served since
	place int  // in line.lanes
}

// laneKey finds a lane in its line.
type laneKey struct {
	client   uuid.UUID
	priority int
	returned uint64 // the waiter's seq, 0 for those that were not
}

func (w *waiter) laneKey() laneKey {
	k := laneKey{client: w.Client, priority: w.Priority}
	if w.returned {
		k.returned = w.seq
	}
	return k
}

func (l *lane) headRank() rank {
	c := l.client
	return l.first.rankOf(l.line.pool.aging, c.turn, c.served[l.key.priority+maxPriority])
}

// line is the lanes of a pool that ask for the same labels and value. What one of them
// can be given any of them can, so a line that found no slot is parked as a
// whole until a slot that suits it comes free.
type line struct {
	pool    *pool
	key     string
	labels  map[string]string
	want    string
	byKey   map[laneKey]*lane
	lanes   heap[*lane]
	waiting int // in all lanes
	place   int // in pool.lines; 0 = parked
	parked  int // in pool.parked, position+1; 0 = in pool.lines
}

func newLine(p *pool, key string, labels map[string]string, want string) *line {
	return &line{pool: p, key: key, labels: labels, want: want, byKey: map[laneKey]*lane{}, lanes: heap[*lane]{
		before: func(a, b *lane) bool { return a.rank.before(b.rank) },
		place:  func(l *lane) *int { return &l.place },
	}}
}

// settle brings the true first lane to the top. Ranks of a client's other
// lanes grow when it is served and are put right only here, when they matter.
func (l *line) settle() (changed bool) {
	for l.lanes.len() > 0 {
		first := l.lanes.top()
		now := first.headRank()
		if now == first.rank {
			return changed
		}
		first.rank = now
		l.lanes.push(first)
		changed = true
	}
	return changed
}

// lineKey writes labels and a wanted value so that equal sets give equal keys.
func lineKey(labels map[string]string, want string) string {
	if len(labels) == 0 && want == "" {
		return ""
	}
	names := make([]string, 0, len(labels))
	for k := range labels {
		names = append(names, k)
	}
	sort.Strings(names)
	var b strings.Builder
	for _, k := range names {
		b.WriteString(strconv.Quote(k))
		b.WriteString(strconv.Quote(labels[k]))
	}
	b.WriteString(strconv.Quote(want))
	return b.String()
}

const longAgo = math.MinInt64
