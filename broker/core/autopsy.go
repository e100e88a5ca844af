package core

import (
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// autopsiesMost bounds the autopsies that are kept; each holds two stacks of
// wire.MaxStack at most.
const autopsiesMost = 64

// AutopsyStatus is one call that hung.
type AutopsyStatus struct {
	Session     session.ID `json:"session"`
	Pool        string     `json:"pool"`
	Node        string     `json:"node"`
	NodeName    string     `json:"node_name"`
	Host        string     `json:"host"`
	PID         int        `json:"pid"`
	Worker      int        `json:"worker"`
	Incarnation uint64     `json:"incarnation"`
	Call        uint64     `json:"call"`
	Method      string     `json:"method"`
	Budget      float64    `json:"budget_seconds"`
	Silent      float64    `json:"silent_seconds"` // without progress, when it was told
	Ago         float64    `json:"ago_seconds"`    // since it was told
	Thread      int        `json:"thread,omitempty"`
	Trace       string     `json:"trace,omitempty"` // its id, where the call came in one
	Stack       string     `json:"stack"`
	Native      string     `json:"native,omitempty"`
	Done        string     `json:"done"`
	Quarantined bool       `json:"quarantined"` // its handler has not returned yet
}

// autopsy is one as it was told.
type autopsy struct {
	at   time.Time
	node session.NodeID
	is   AutopsyStatus
}

// autopsied keeps what a node says of a call that hung; a later word on the same
// call takes the place of the first.
func (c *Core) autopsied(now time.Time, from wire.Peer, m *wire.Autopsy, fx *Effects) {
	n := c.nodeAt[from]
	if n == nil {
		c.stranger(from, wire.KindAutopsy, fx)
		return
	}
	trace := wire.TraceOf(m.Trace)
	a := autopsy{at: now, node: n.id, is: AutopsyStatus{
		Session: m.Session, Pool: m.Pool, Node: n.id.String(), NodeName: n.name, Host: n.host, PID: n.pid, Worker: m.Worker,
		Incarnation: m.Incarnation, Call: m.Call, Method: m.Method, Budget: float64(m.Budget) / 1000, Silent: float64(m.Silent) / 1000,
		Thread: m.Thread, Stack: m.Stack, Native: m.Native, Done: m.Done, Trace: trace.ID(),
	}}
	for i := range c.autopsies {
		if old := &c.autopsies[i]; old.node == n.id && old.is.Session == m.Session && old.is.Call == m.Call {
			a.at = old.at
			*old = a
			return
		}
	}
	if len(c.autopsies) == autopsiesMost {
		c.autopsies = slices.Delete(c.autopsies, 0, 1)
	}
	c.autopsies = append(c.autopsies, a)
	c.counts.Hung++
	fx.Events = append(fx.Events, Event{What: EventHung, Node: n.id, Name: n.name, Session: m.Session, Pool: m.Pool, Code: session.ErrWorkerHung, Text: m.Method})
}

// Inspection is what is known of one session or node.
type Inspection struct {
	Session   *SessionStatus  `json:"session,omitempty"` // where that was asked for and lives
	Node      *NodeStatus     `json:"node,omitempty"`    // where that was asked for and is there
	Death     *DeathStatus    `json:"death,omitempty"`   // of the node, or of the one that served the session
	Autopsies []AutopsyStatus `json:"autopsies"`         // of its calls that hung, the latest first
}

// InspectSession tells what is known of a session; false if nothing is.
func (c *Core) InspectSession(now time.Time, id session.ID) (Inspection, bool) {
	var in Inspection
	for _, n := range c.nodes {
		if l := n.live[id]; l != nil {
			s := sessionOf(now, l)
			in.Session = &s
		}
	}
	in.Autopsies = c.autopsiesOf(now, func(a *autopsy) bool { return a.is.Session == id })
	in.Death = c.deathOf(now, func(l *loss) bool { return c.buried.served(l.node, id) })
	return in, in.Session != nil || in.Death != nil || len(in.Autopsies) > 0
}

// InspectNode tells what is known of a node, by its id or name, also of one that
// is gone; false if nothing is.
func (c *Core) InspectNode(now time.Time, name string) (Inspection, bool) {
	var in Inspection
	if id, ok := c.NodeNamed(name); ok {
		n := c.nodeStatus(now, c.nodes[id])
		in.Node = &n
	}
	in.Autopsies = c.autopsiesOf(now, func(a *autopsy) bool { return a.is.NodeName == name || a.is.Node == name })
	in.Death = c.deathOf(now, func(l *loss) bool { return l.is.Name == name || l.is.Node == name })
	return in, in.Node != nil || in.Death != nil || len(in.Autopsies) > 0
}

func (c *Core) autopsiesOf(now time.Time, which func(*autopsy) bool) []AutopsyStatus {
	all := []AutopsyStatus{}
	for _, a := range slices.Backward(c.autopsies) {
		if which(&a) {
			a.is.Ago = now.Sub(a.at).Seconds()
			if n := c.nodes[a.node]; n != nil && n.live[a.is.Session] != nil {
				a.is.Quarantined = n.live[a.is.Session].live.Quarantined
			}
			all = append(all, a.is)
		}
	}
	return all
}

// quarantine counts, or no longer counts, the slot of a session that hung.
func (n *node) quarantine(l *lease, is bool) {
	if l.live.Quarantined == is {
		return
	}
	l.live.Quarantined = is
	if n.quarantined == nil {
		n.quarantined = map[string]int{}
	}
	if is {
		n.quarantined[l.live.Pool]++
	} else if n.quarantined[l.live.Pool]--; n.quarantined[l.live.Pool] == 0 {
		delete(n.quarantined, l.live.Pool)
	}
}

// lostSlots is how many slots of the node are quarantined.
func (n *node) lostSlots() (sum int) {
	for _, slots := range n.quarantined {
		sum += slots
	}
	return sum
}
