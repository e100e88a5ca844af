package core

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/session"
)

// Counts only ever grow.
type Counts struct {
	Opens      uint64 // taken into a queue
	Overloaded uint64 // opens refused because a queue was full
	Expired    uint64 // opens whose wait was over before a slot came free
	NodesLost  uint64
	Relayed    uint64 // session messages passed on
	NotPassed  uint64 // session messages whose receiver is not there
	Hung       uint64 // calls that passed their budget without progress
	Grown      uint64 // changes of a pool's slots on a node to more
	Shrunk     uint64 // and to fewer
	Broadcasts uint64 // begun
	Outdated   uint64 // messages that nodes refused because they know a later master
	Bad        map[session.Code]uint64
}

func (c *Counts) bad(code session.Code) {
	if c.Bad == nil {
		c.Bad = map[session.Code]uint64{}
	}
	c.Bad[code]++
}

// Status is a snapshot of the broker, sorted, in plain values.
type Status struct {
	Broker     uuid.UUID       `json:"broker"`
	Name       string          `json:"name"`
	Program    string          `json:"program"`
	Epoch      uint64          `json:"epoch"`
	Uptime     float64         `json:"uptime_seconds"`
	Recovering bool            `json:"recovering"`
	Clients    int             `json:"clients"`
	Broadcasts int             `json:"broadcasts"` // under way, or not confirmed by their clients
	Pools      []PoolStatus    `json:"pools"`
	Nodes      []NodeStatus    `json:"nodes"`
	Sessions   []SessionStatus `json:"sessions"`
	Queue      []WaitingStatus `json:"queue"`
	Casts      []CastStatus    `json:"casts"` // the broadcasts, one by one
	Lost       []LostStatus    `json:"lost"`  // the nodes that were lost last, the latest first
	Counts     Counts          `json:"-"`
}

// PoolStatus is one pool over all nodes.
type PoolStatus struct {
	Pool        string  `json:"pool"`
	Policy      string  `json:"policy"` // of placement
	Nodes       int     `json:"nodes"`
	Slots       int     `json:"slots"`
	Most        int     `json:"slots_most"` // where all nodes have grown as far as they may
	Free        int     `json:"free"`
	Offered     int     `json:"offered"`
	Open        int     `json:"open"`
	Quarantined int     `json:"quarantined"` // their handlers hang
	Waiting     int     `json:"waiting"`
	Room        int     `json:"queue_room"` // how many may wait at most
	Longest     float64 `json:"longest_wait_seconds"`
}

// NodeStatus is one node.
type NodeStatus struct {
	Node        string            `json:"node"`
	Name        string            `json:"name"`
	Host        string            `json:"host"`
	PID         int               `json:"pid"`
	Endpoint    string            `json:"endpoint,omitempty"`
	State       string            `json:"state"` // alive, late, suspect, cut off, draining
	Silent      float64           `json:"silent_seconds"`
	Up          float64           `json:"joined_seconds"`
	Labels      map[string]string `json:"labels,omitempty"`
	Pools       []string          `json:"pools"`
	Slots       int               `json:"slots"`
	Open        int               `json:"open"`
	Quarantined int               `json:"quarantined"`
	Offered     int               `json:"offered"`
	LoopLate    float64           `json:"loop_late_seconds"`
	Values      map[string]string `json:"values,omitempty"` // by pool, what it says of itself for placement
	Sizes       []SizeStatus      `json:"sizes,omitempty"`  // of its pools that grow and shrink
}

// SizeStatus is one pool of a node that grows and shrinks.
type SizeStatus struct {
	Pool  string  `json:"pool"`
	Slots int     `json:"slots"`
	Least int     `json:"least"`
	Most  int     `json:"most"`
	Was   int     `json:"was"`         // before its last change
	Why   string  `json:"why"`         // it changed; empty: it never has
	Ago   float64 `json:"ago_seconds"` // since then
}

// SessionStatus is one open session.
type SessionStatus struct {
	Session     session.ID `json:"session"`
	Pool        string     `json:"pool"`
	Node        string     `json:"node"`
	NodeName    string     `json:"node_name"`
	Worker      int        `json:"worker"`
	Incarnation uint64     `json:"incarnation"`
	Epoch       uint32     `json:"epoch"`
	Client      string     `json:"client"`
	Age         float64    `json:"age_seconds"`
	Quarantined bool       `json:"quarantined,omitempty"` // it is over, and its handler hangs
}

// WaitingStatus is one open that waits.
type WaitingStatus struct {
	Client   string  `json:"client"`
	Pool     string  `json:"pool"`
	Priority int     `json:"priority"`
	Place    int     `json:"place"`
	Waited   float64 `json:"waited_seconds"`
	State    string  `json:"state"` // queued or offered
}

// LostStatus is one node that is gone.
type LostStatus struct {
	Node     string  `json:"node"`
	Name     string  `json:"name"`
	Host     string  `json:"host"`
	PID      int     `json:"pid"`
	Sessions int     `json:"sessions"` // that ended with it
	Ago      float64 `json:"ago_seconds"`
	Why      string  `json:"why"`
}

// statusMost bounds the sessions and queue places that a snapshot lists.
const statusMost = 10_000

// Status takes a snapshot. Its cost grows with the sessions and queue places
// listed, of which it lists at most 10,000 each, and with the broadcasts and the
// nodes that they ask.
func (c *Core) Status(now time.Time) Status {
	s := c.Summary(now)
	c.sessionStatus(now, &s)
	c.queueStatus(now, &s)
	c.castStatus(now, &s)
	return s
}

// Summary is Status without its lists of sessions, queue places and broadcasts.
func (c *Core) Summary(now time.Time) Status {
	s := Status{
		Broker: c.cfg.ID, Name: c.cfg.Name, Program: c.cfg.Program, Epoch: c.cfg.Epoch,
		Uptime: now.Sub(c.started).Seconds(), Recovering: c.Recovering(now), Clients: len(c.clients), Broadcasts: len(c.casts), Counts: c.counts,
		Pools: []PoolStatus{}, Nodes: []NodeStatus{}, Sessions: []SessionStatus{}, Queue: []WaitingStatus{}, Casts: []CastStatus{}, Lost: []LostStatus{},
	}
	s.Counts.Bad = maps.Clone(c.counts.Bad)
	c.poolStatus(now, &s)
	for _, n := range c.nodes {
		s.Nodes = append(s.Nodes, c.nodeStatus(now, n))
	}
	slices.SortFunc(s.Nodes, func(a, b NodeStatus) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Node, b.Node)) })
	c.lostStatus(now, &s)
	return s
}

func (c *Core) sessionStatus(now time.Time, s *Status) {
	for _, n := range c.nodes {
		for _, l := range n.live {
			if len(s.Sessions) < statusMost {
				s.Sessions = append(s.Sessions, sessionOf(now, l))
			}
		}
	}
	slices.SortFunc(s.Sessions, func(a, b SessionStatus) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.NodeName, b.NodeName), cmp.Compare(a.Node, b.Node), cmp.Compare(a.Worker, b.Worker),
			slices.Compare(a.Session[:], b.Session[:]))
	})
}

func sessionOf(now time.Time, l *lease) SessionStatus {
	return SessionStatus{
		Session: l.live.Session, Pool: l.live.Pool, Node: l.node.id.String(), NodeName: l.node.name, Worker: l.live.Worker,
		Incarnation: l.live.Incarnation, Epoch: l.live.Epoch, Client: clientName(l.client), Age: now.Sub(l.since).Seconds(),
		Quarantined: l.live.Quarantined,
	}
}

func (c *Core) poolStatus(now time.Time, s *Status) {
	offered, quarantined, most := map[string]int{}, map[string]int{}, map[string]int{}
	for _, n := range c.nodes {
		for i := range n.pools {
			most[n.pools[i].Name] += max(n.pools[i].Slots, n.pools[i].Most)
		}
		for pool, slots := range n.quarantined {
			quarantined[pool] += slots
		}
		for _, o := range n.offers {
			offered[o.ask.Pool]++
		}
	}
	for _, p := range c.table.Pools() {
		s.Pools = append(s.Pools, PoolStatus{
			Pool: p.Name, Policy: p.Policy.String(), Nodes: p.Nodes, Slots: p.Slots, Most: most[p.Name], Free: p.Free, Offered: offered[p.Name],
			Open: p.Used - offered[p.Name] - quarantined[p.Name], Quarantined: quarantined[p.Name],
			Waiting: p.Waiting, Room: p.Room,
		})
		if !p.Oldest.IsZero() {
			s.Pools[len(s.Pools)-1].Longest = now.Sub(p.Oldest).Seconds()
		}
	}
}

func (c *Core) nodeStatus(now time.Time, n *node) NodeStatus {
	state, silent, _ := c.nodeBeats.State(n.id)
	ns := NodeStatus{
		Node: n.id.String(), Name: n.name, Host: n.host, PID: n.pid, Endpoint: n.endpoint, State: state.String(), Silent: silent.Seconds(),
		Up: now.Sub(n.joined).Seconds(), Labels: n.labels, Open: len(n.live) - n.lostSlots(),
		Quarantined: n.lostSlots(), Offered: len(n.offers), LoopLate: float64(n.beat.Late) / 1000,
		Values: maps.Clone(n.values), Sizes: n.sizes(now),
	}
	switch {
	case n.peer == 0:
		ns.State = "cut off"
	case n.drain:
		ns.State = "draining"
	}
	for _, p := range n.pools {
		ns.Pools = append(ns.Pools, p.Name)
		ns.Slots += p.Slots
	}
	return ns
}

// sizes are the pools of a node that grow and shrink.
func (n *node) sizes(now time.Time) (all []SizeStatus) {
	for i := range n.pools {
		p := &n.pools[i]
		if p.Most == 0 {
			continue
		}
		s := SizeStatus{Pool: p.Name, Slots: p.Slots, Least: p.Least, Most: p.Most}
		if r, changed := n.resized[p.Name]; changed {
			s.Was, s.Why, s.Ago = r.was, r.why, now.Sub(r.at).Seconds()
		}
		all = append(all, s)
	}
	return all
}

func (c *Core) queueStatus(now time.Time, s *Status) {
	for _, o := range c.opens {
		w := WaitingStatus{Client: clientName(o.client), Pool: o.ask.Pool, Priority: o.ask.Priority, Waited: now.Sub(o.arrived).Seconds(), State: "offered"}
		if o.state == openQueued {
			w.State = "queued"
			if len(s.Queue) < 1000 {
				w.Place, _ = c.table.Place(o.key)
			}
		}
		if len(s.Queue) < statusMost {
			s.Queue = append(s.Queue, w)
		}
	}
	slices.SortFunc(s.Queue, func(a, b WaitingStatus) int {
		return cmp.Or(cmp.Compare(a.Pool, b.Pool), cmp.Compare(a.State, b.State), cmp.Compare(a.Place, b.Place), cmp.Compare(b.Waited, a.Waited))
	})
}

func clientName(cl *client) string {
	if cl.name != "" {
		return cl.name + " " + cl.id.String()[:8]
	}
	return cl.id.String()[:8]
}
