package core

import (
	"cmp"
	"crypto/subtle"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/assigner"
	"github.com/limpet-rpc/limpet/heartbeat"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// node is what the broker knows of one run of a node process.
type node struct {
	id          session.NodeID
	secret      session.Key // of its first Register
	name        string
	host        string
	pid         int
	endpoint    string
	labels      map[string]string
	pools       []wire.Pool
	peer        wire.Peer // 0 while its connection is broken
	cut         time.Time // since when
	seq         uint64    // the last of its changes that was heard of
	gap         bool      // one before it was missed, and no Register has come since
	drain       bool
	asked       *wire.Drain // sent until its beats say that it drains
	beat        wire.Beat
	joined      time.Time
	live        map[session.ID]*lease
	offers      map[session.OpenKey]*open
	quarantined map[string]int // by pool: slots of live whose handlers hang
	staged      []wire.Live    // of a Register in parts
	parts       uint32
	started     map[session.ID]uint64 // of its start record, nil while nobody has read one
	told        uint32                // parts of it that have come
}

// lease is one session that lives on a node.
type lease struct {
	node   *node
	client *client
	live   wire.Live
	since  time.Time
	first  bool // a call came along with its open
	once   bool // and the session ends with it: its client gets the answer, and the route only if it asks again
}

func (l *lease) key() session.OpenKey {
	return session.OpenKey{Client: l.live.Client, Request: l.live.Request}
}

// register takes all a node says of itself. Every part repeats the head, so
// that the last one is enough to join with.
func (c *Core) register(now time.Time, from wire.Peer, m *wire.Register, fx *Effects) {
	if code, err := c.mayRegister(from, m); err != nil {
		c.bad(from, wire.KindRegister, uuid.Nil, code, err, fx)
		return
	}
	n := c.nodes[m.Node]
	if n == nil {
		n = &node{id: m.Node, secret: m.Secret, joined: now, live: map[session.ID]*lease{}, offers: map[session.OpenKey]*open{}}
		c.nodes[m.Node] = n
	}
	if n.peer != from {
		delete(c.nodeAt, n.peer)
		n.peer, n.staged, n.parts = from, nil, 0
		c.nodeAt[from] = n
	}
	if m.Part == 0 {
		n.staged, n.parts = nil, 0
	}
	c.hear(m.Epoch, fx)
	c.nodeBeats.Watch(now, n.id, c.interval(m.Beat), c.misses(m.Misses))
	c.nodeBeats.Beat(now, n.id)             // it comes from the working loop as beats do
	if m.Part != n.parts || m.Seq < n.seq { // a part is missing, or changes overtook it
		fx.Control(from, &wire.Registered{Epoch: c.cfg.Epoch, Seq: n.seq, Again: true})
		return
	}
	n.staged, n.parts = append(n.staged, m.Live...), n.parts+1
	if m.More {
		return
	}
	live := n.staged
	n.staged, n.parts = nil, 0
	c.join(now, n, m, live, fx)
}

// mayRegister refuses a Register before anything is changed by it.
func (c *Core) mayRegister(from wire.Peer, m *wire.Register) (session.Code, error) {
	n := c.nodes[m.Node]
	switch other := c.nodeAt[from]; {
	case other != nil && other.id != m.Node:
		return session.ErrBadMessage, fmt.Errorf("this connection is node %s already", other.id)
	case c.buried.nodes[m.Node] != nil:
		return session.ErrBadMessage, fmt.Errorf("node %s is dead, by its start record", m.Node)
	case n == nil && len(c.nodes) >= c.cfg.Peers:
		return session.ErrOverloaded, errors.New("the broker knows as many nodes as it may")
	case n != nil && subtle.ConstantTimeCompare(n.secret[:], m.Secret[:]) != 1:
		return session.ErrBadMessage, fmt.Errorf("node %s is registered with another secret", m.Node)
	case n != nil && m.Part > 0 && len(n.staged)+len(m.Live) > stagedMost:
		return session.ErrTooLarge, fmt.Errorf("a register of more than %d sessions", stagedMost)
	}
	return 0, nil
}

// stagedMost bounds the sessions that one Register may bring along.
const stagedMost = 1 << 18

func (c *Core) interval(ms uint32) time.Duration {
	if ms == 0 {
		return c.cfg.Beat
	}
	return time.Duration(ms) * time.Millisecond
}

func (c *Core) misses(n uint8) int {
	if n == 0 {
		return c.cfg.Misses
	}
	return int(n)
}

// join makes the broker's picture of a node what the node says it is.
func (c *Core) join(now time.Time, n *node, m *wire.Register, live []wire.Live, fx *Effects) {
	fresh := n.name == ""
	n.name, n.host, n.pid, n.endpoint, n.labels, n.pools = m.Name, m.Host, m.PID, m.Endpoint, m.Labels, m.Pools
	n.seq, n.gap, n.drain = m.Seq, false, m.Drain
	c.seat(n)
	lives := make(map[session.ID]bool, len(live))
	for i := range live {
		lives[live[i].Session] = !live[i].Over && !live[i].Starting
	}
	for _, l := range leasesOf(n.live) {
		if !lives[l.live.Session] {
			c.end(now, l, session.ErrSessionExpired, fx)
		}
	}
	c.starting(now, n, live, fx)
	for i := range live {
		if !live[i].Starting {
			c.adopt(now, n, &live[i], fx)
		}
	}
	fx.Control(n.peer, &wire.Registered{Epoch: c.cfg.Epoch, Seq: n.seq})
	delete(c.before, n.id)
	c.tellBack(n, fx)
	c.askBack(now, n, fx)
	if fresh {
		fx.Events = append(fx.Events, Event{What: EventNodeJoined, Node: n.id, Name: n.name, Text: fmt.Sprintf("%d sessions came along", len(live))})
	}
	c.pump(now, fx)
}

// seat tells the assigner what a node has to give.
func (c *Core) seat(n *node) {
	slots := make(map[string]int, len(n.pools))
	for _, p := range n.pools {
		slots[p.Name] += p.Slots
	}
	c.table.Join(assigner.Node{ID: n.id, Name: n.name, Labels: n.labels, Slots: slots, Draining: n.drain})
}

// accept takes a node's word that a session lives there. A word that later
// changes have overtaken says nothing any more: the session may have ended
// since. If it has not, the gap in the numbers brings it back.
func (c *Core) accept(now time.Time, from wire.Peer, m *wire.Accept, fx *Effects) {
	n := c.nodeAt[from]
	if n == nil {
		c.stranger(from, wire.KindAccept, fx)
		return
	}
	if !n.serves(m.Live.Pool) {
		c.bad(from, wire.KindAccept, m.Live.Request, session.ErrBadMessage, fmt.Errorf("node %s has not registered a pool %.40q", n.id, m.Live.Pool), fx)
		return
	}
	stale := m.Seq < n.seq
	c.heard(now, n, m.Seq, fx)
	if !stale {
		c.adopt(now, n, &m.Live, fx)
	}
}

// stranger answers a node's message from a connection that is no node's: the
// broker was restarted, or the peer never registered.
func (c *Core) stranger(from wire.Peer, of wire.Kind, fx *Effects) {
	c.counts.bad(session.ErrKindUnknown)
	fx.Events = append(fx.Events, Event{What: EventBad, Peer: from, Code: session.ErrKindUnknown, Text: "a " + of.String() + " from no registered node"})
	fx.Control(from, &wire.Identify{Broker: c.cfg.ID, Epoch: c.cfg.Epoch})
}

// heard takes the number of a node's change. A gap means that one was lost:
// the node is asked for the whole, and with every beat again until it comes.
func (c *Core) heard(now time.Time, n *node, seq uint64, fx *Effects) {
	c.nodeBeats.Beat(now, n.id)
	if seq > n.seq+1 {
		n.gap = true
		fx.Control(n.peer, &wire.Registered{Epoch: c.cfg.Epoch, Seq: n.seq, Again: true})
	}
	n.seq = max(n.seq, seq)
}

// adopt records a session that a node says lives there, and tells its client
// if that waits for it.
func (c *Core) adopt(now time.Time, n *node, live *wire.Live, fx *Effects) {
	key := session.OpenKey{Client: live.Client, Request: live.Request}
	l := n.live[live.Session]
	switch {
	case live.Over:
		if l != nil { // its Ended was lost
			c.end(now, l, session.ErrSessionClosed, fx)
		}
		c.overAlready(now, key, n, live, fx)
		return
	case l != nil:
		c.update(l, live)
		n.quarantine(l, live.Quarantined)
		return
	}
	holder := holderOf(live)
	cl, err := c.client(holder, c.peerOf(holder))
	if err != nil || len(n.live) >= n.livesMost() {
		c.revoke(n, key, session.ErrOverloaded, fx)
		return
	}
	l = &lease{node: n, client: cl, live: *live, since: now}
	l.live.Pool = n.poolName(live.Pool)
	l.first, l.once = live.First, live.Once
	l.live.Quarantined = false
	n.quarantine(l, live.Quarantined)
	n.live[live.Session] = l
	cl.live++
	c.settleOpen(now, key, l, fx)
	fx.Events = append(fx.Events, Event{What: EventOpened, Node: n.id, Name: n.name, Session: live.Session, Pool: live.Pool})
}

// livesMost bounds the sessions that a node may claim: its slots twice, for the
// news of an end may come after that of the next session there.
func (n *node) livesMost() int {
	slots := 0
	for _, p := range n.pools {
		slots += p.Slots
	}
	return 2*slots + 64
}

// holderOf is the client whose session it is.
func holderOf(live *wire.Live) uuid.UUID {
	if live.Holder != uuid.Nil {
		return live.Holder
	}
	return live.Client
}

// update takes a newer word on a session that is known: another client may
// hold it now.
func (c *Core) update(l *lease, live *wire.Live) {
	if live.Epoch < l.live.Epoch {
		return
	}
	l.live.Epoch, l.live.Key, l.live.Holder = live.Epoch, live.Key, live.Holder
	if holder := holderOf(live); holder != l.client.id {
		if cl, err := c.client(holder, c.peerOf(holder)); err == nil {
			old := l.client
			old.live--
			cl.live++
			l.client = cl
			c.forget(old)
		}
	}
}

// overAlready takes a node's word on a session that has ended there, whose
// reply it keeps: an open that still waits for it here gets the route, and the
// slot that was meant for it is free.
func (c *Core) overAlready(now time.Time, key session.OpenKey, n *node, live *wire.Live, fx *Effects) {
	l := &lease{node: n, live: *live}
	l.live.Pool = n.poolName(live.Pool)
	if o := c.opens[key]; o != nil {
		if o.client.peer != 0 && !o.withdrawn && (o.node != n || !live.Once) { // else its client got the answer
			fx.Control(o.client.peer, c.route(l))
		}
		switch {
		case o.state == openQueued:
			c.table.Withdraw(key)
		case o.node != n:
			c.revoke(o.node, key, session.ErrWithdrawn, fx)
			c.table.Free(now, o.node.id, o.ask.Pool)
			delete(o.node.offers, key)
		default:
			c.table.Free(now, n.id, o.ask.Pool)
			delete(n.offers, key)
		}
		cl := o.client
		c.leave(o)
		c.forget(cl)
		fx.Events = append(fx.Events,
			Event{What: EventOpened, Node: n.id, Name: n.name, Session: live.Session, Pool: live.Pool},
			Event{What: EventEnded, Node: n.id, Name: n.name, Session: live.Session, Pool: live.Pool, Code: session.ErrSessionClosed})
	}
	c.past.add(now, pastOpen{key: key, code: session.ErrSessionClosed}, l)
	c.pump(now, fx)
}

func (n *node) serves(pool string) bool {
	return slices.ContainsFunc(n.pools, func(p wire.Pool) bool { return p.Name == pool })
}

// poolName returns the one copy of a pool's name, so that a session does not
// keep the message that it came with.
func (n *node) poolName(name string) string {
	for i := range n.pools {
		if n.pools[i].Name == name {
			return n.pools[i].Name
		}
	}
	return name
}

func (c *Core) peerOf(id uuid.UUID) wire.Peer {
	if cl := c.clients[id]; cl != nil {
		return cl.peer
	}
	return 0
}

// settleOpen joins a session with the open it came from, and sees to it that
// its slot is counted and that no open has two sessions.
func (c *Core) settleOpen(now time.Time, key session.OpenKey, l *lease, fx *Effects) {
	o := c.opens[key]
	if o == nil || o.state != openOffered || o.node != l.node {
		c.table.Take(l.node.id, l.live.Pool) // else its slot is counted since the grant
	}
	if first := c.taken[key]; first != nil { // from a node that was cut off while another was given its offer
		c.revoke(l.node, key, session.ErrWithdrawn, fx)
		return
	}
	c.taken[key] = l
	if o == nil {
		if p, over := c.past.find(key); over && p.code != session.ErrWorkerLost {
			c.revoke(l.node, key, p.code, fx)
			return
		}
		c.past.forget(key) // what was given up for lost lives: its lease judges, for another broker may have seen it all along
		c.tellRoute(l, fx)
		return
	}
	switch {
	case o.state == openQueued:
		c.table.Withdraw(key)
	case o.node == l.node:
		delete(l.node.offers, key)
	default: // on offer elsewhere: that is taken back
		c.revoke(o.node, key, session.ErrWithdrawn, fx)
		c.table.Free(now, o.node.id, o.ask.Pool)
		delete(o.node.offers, key)
	}
	l.first = o.first
	l.once = o.offer != nil && o.offer.Once
	c.leave(o)
	if o.withdrawn {
		c.takeBack(l, session.ErrWithdrawn, fx)
		return
	}
	if !l.once {
		c.tellRoute(l, fx)
	}
}

// tellRoute sends the route to the client that asked.
func (c *Core) tellRoute(l *lease, fx *Effects) {
	if l.client.peer != 0 && l.client.id == l.live.Client {
		fx.Control(l.client.peer, c.route(l))
	}
}

func (c *Core) route(l *lease) *wire.Opened {
	return &wire.Opened{
		Request: l.live.Request, Broker: c.cfg.ID, Node: l.node.id, NodeName: l.node.name, PID: l.node.pid, Pool: l.live.Pool,
		Worker: l.live.Worker, Incarnation: l.live.Incarnation, Session: l.live.Session, Key: l.live.Key,
		Epoch: l.live.Epoch, Endpoint: l.node.endpoint, Limits: l.live.Limits,
	}
}

// decline takes a node's no. A worker that could not open is the client's to
// know; everything else is for another node, or for later.
func (c *Core) decline(now time.Time, from wire.Peer, m *wire.Decline, fx *Effects) {
	n := c.nodeAt[from]
	if n == nil {
		c.stranger(from, wire.KindDecline, fx)
		return
	}
	c.heard(now, n, m.Seq, fx)
	key := session.OpenKey{Client: m.Client, Request: m.Request}
	o := n.offers[key]
	if o == nil || m.Try != o.try {
		return // an answer to a copy of an offer that came to nothing before
	}
	delete(n.offers, key)
	c.table.Free(now, n.id, o.ask.Pool)
	if o.withdrawn || m.Code == session.ErrOpenFailed || m.Code == session.ErrBadMessage || m.Code == session.ErrWithdrawn {
		if !o.withdrawn {
			c.refuse(o.client.peer, key, m.Code, m.Text, fx)
		}
		c.finish(now, o, m.Code)
	} else {
		c.table.Hold(n.id, o.ask.Pool, now.Add(c.cfg.Beat/4))
		c.requeue(now, o, fx)
	}
	c.pump(now, fx)
}

// leaves takes a node's good-bye: it holds nothing any more.
func (c *Core) leaves(now time.Time, from wire.Peer, m *wire.Leave, fx *Effects) {
	n := c.nodeAt[from]
	if n == nil {
		return
	}
	delete(c.nodes, n.id)
	delete(c.nodeAt, n.peer)
	c.table.Leave(n.id)
	c.nodeBeats.Forget(n.id)
	fx.Events = append(fx.Events, Event{What: EventNodeLeft, Node: n.id, Name: n.name})
	c.castsLeave(n, fx)
	c.tellLost(n, session.Death{Text: "the node has left"}, fx)
	c.bereave(now, n, !n.gap && m.Seq == n.seq, fx)
}

// bereave ends what a node leaves behind: its sessions are over, its offers go
// back into the queue.
func (c *Core) bereave(now time.Time, n *node, all bool, fx *Effects) {
	for _, l := range leasesOf(n.live) {
		c.end(now, l, session.ErrWorkerLost, fx)
	}
	offers := n.offersInOrder()
	clear(n.offers)
	for _, o := range offers {
		if o.first && !all { // the offer may have been taken, and the call have run
			c.unknown(now, o, n, fx)
		} else {
			c.requeue(now, o, fx)
		}
	}
	c.pump(now, fx)
}

// unknown ends an open whose call may have run on a node that is gone.
func (c *Core) unknown(now time.Time, o *open, n *node, fx *Effects) {
	if o.client.peer != 0 && !o.withdrawn {
		fx.Control(o.client.peer, &wire.Refused{
			Request: o.key.Request, Code: session.ErrWorkerLost, Unknown: true, Text: "node " + n.name + " was lost while it was on offer there",
		})
	}
	cl := o.client
	c.leave(o)
	c.past.add(now, pastOpen{key: o.key, code: session.ErrWorkerLost, unknown: true}, nil)
	c.forget(cl)
}

// requeue puts an open back into the queue whose offer came to nothing.
func (c *Core) requeue(now time.Time, o *open, fx *Effects) {
	o.state, o.node, o.named = openQueued, nil, false
	o.try++
	switch {
	case o.withdrawn:
		c.finish(now, o, session.ErrWithdrawn)
		return
	case o.unasked: // its client may ask; until then it is another broker's to place
		c.leave(o)
		c.forget(o.client)
		return
	}
	if err := c.table.Requeue(now, o.grant); err != nil {
		c.refuse(o.client.peer, o.key, session.ErrNoWorker, err.Error(), fx)
		c.finish(now, o, session.ErrNoWorker)
	}
}

// ended takes a node's word that a session is over.
func (c *Core) ended(now time.Time, from wire.Peer, m *wire.Ended, fx *Effects) {
	n := c.nodeAt[from]
	if n == nil {
		c.stranger(from, wire.KindEnded, fx)
		return
	}
	c.heard(now, n, m.Seq, fx)
	if l := n.live[m.Session]; l != nil {
		c.end(now, l, m.Code, fx)
		c.pump(now, fx)
	}
}

// end forgets a session and frees its slot.
func (c *Core) end(now time.Time, l *lease, code session.Code, fx *Effects) {
	id := l.live.Session
	l.node.quarantine(l, false)
	delete(l.node.live, id)
	l.client.live--
	c.table.Free(now, l.node.id, l.live.Pool)
	if key := l.key(); c.taken[key] == l {
		delete(c.taken, key)
		p := pastOpen{key: key, code: code} // unknown, if a call came along: a broker that was restarted does not know
		p.unknown = code != session.ErrWorkerLost || l.node.mayHaveStarted(id)
		if l.first && code != session.ErrWorkerLost {
			c.past.add(now, p, l)
		} else {
			c.past.add(now, p, nil)
		}
	}
	c.forget(l.client)
	fx.Events = append(fx.Events, Event{What: EventEnded, Node: l.node.id, Name: l.node.name, Session: id, Pool: l.live.Pool, Code: code})
}

// nodeBeat takes a node's beat: a sign of life, and the number of its last
// change.
func (c *Core) nodeBeat(now time.Time, n *node, m *wire.Beat, fx *Effects) {
	if change, was := c.nodeBeats.Beat(now, n.id); was {
		c.nodeChanged(now, change, fx)
	}
	if m.Seq > n.seq || n.gap {
		fx.Control(n.peer, &wire.Registered{Epoch: c.cfg.Epoch, Seq: n.seq, Again: true})
	}
	if n.asked != nil && !m.Drain {
		fx.Control(n.peer, n.asked)
	} else if m.Drain != n.drain {
		n.drain = m.Drain
		c.seat(n)
	}
	n.beat = *m
	c.hear(m.Epoch, fx)
}

// nodeChanged takes what the beats say of a node.
func (c *Core) nodeChanged(now time.Time, change heartbeat.Change[session.NodeID], fx *Effects) {
	n := c.nodes[change.Who]
	if n == nil {
		return
	}
	if change.To != heartbeat.Gone {
		fx.Events = append(fx.Events, Event{What: EventNodeState, Node: n.id, Name: n.name, Text: change.To.String()})
		return
	}
	why := session.Death{Text: fmt.Sprintf("no beat for %s", change.Silent.Round(time.Millisecond))}
	c.castsLose(n, why, true, fx)
	c.lose(now, n, why, fx)
}

// lose forgets a node: its sessions' clients are told, its offers go back into
// the queue.
func (c *Core) lose(now time.Time, n *node, why session.Death, fx *Effects) {
	why = why.WithDefaults()
	delete(c.nodes, n.id)
	delete(c.nodeAt, n.peer)
	c.table.Leave(n.id)
	c.nodeBeats.Forget(n.id)
	c.counts.NodesLost++
	c.mourn(now, n, why)
	if n.started != nil {
		c.buried.add(now, n.id, by(n.name, why), n.started)
	}
	c.castsLose(n, why, false, fx)
	fx.Events = append(fx.Events, Event{What: EventNodeLost, Node: n.id, Name: n.name, Text: fmt.Sprintf("%s, %d sessions", why.Text, len(n.live))})
	c.tellLost(n, why, fx)
	c.bereave(now, n, false, fx)
}

// lostMost is how many sessions one Lost names.
const lostMost = 4096

func (c *Core) tellLost(n *node, why session.Death, fx *Effects) {
	why = by(n.name, why)
	of := map[wire.Peer][]session.ID{} // the started numbers go with them
	var once []*lease
	for id, l := range n.live {
		if l.client.peer != 0 {
			if l.once {
				once = append(once, l)
			}
			of[l.client.peer] = append(of[l.client.peer], id)
		}
	}
	peers := make([]wire.Peer, 0, len(of))
	for p := range of {
		peers = append(peers, p)
	}
	slices.Sort(peers)
	slices.SortFunc(once, func(a, b *lease) int { return slices.Compare(a.live.Session[:], b.live.Session[:]) })
	for _, l := range once {
		fx.Control(l.client.peer, &wire.Refused{
			Request: l.live.Request, Code: why.Code, Text: wire.Text(why.Text),
			Unknown: n.mayHaveStarted(l.live.Session),
		})
	}
	for _, p := range peers {
		ids := of[p]
		slices.SortFunc(ids, func(a, b session.ID) int { return slices.Compare(a[:], b[:]) })
		for chunk := range slices.Chunk(ids, lostMost) {
			fx.Control(p, &wire.Lost{
				Node: n.id, Sessions: chunk, Started: n.startedOf(chunk), Code: why.Code, Text: wire.Text(why.Text),
			})
		}
	}
}

// leasesOf returns sessions in a fixed order.
func leasesOf(m map[session.ID]*lease) []*lease {
	return slices.SortedFunc(maps.Values(m), func(a, b *lease) int {
		return cmp.Or(cmp.Compare(a.live.Worker, b.live.Worker), slices.Compare(a.live.Session[:], b.live.Session[:]))
	})
}
