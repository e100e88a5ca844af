package sim

import (
	"slices"
	"time"

	"github.com/limpet-rpc/limpet/broker/core"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// brokerPart is a broker process at a fixed address.
type brokerPart struct {
	process
	host      string
	epoch     uint64 // in a cell
	yields    int    // the life that ends because another is master
	core      *core.Core
	fx        core.Effects
	lastOffer time.Duration
	arrived   fleeting            // the envelope that is looked at
	links     []*link             // of everybody that ever connected here and still lives
	peers     map[wire.Peer]*link // of this life
	dead      map[wire.Peer]bool  // whose connection broke; true once Gone was told
	next      wire.Peer
	started   time.Duration
	joined    map[session.NodeID]time.Duration // in this life
	lost      map[session.NodeID]bool          // in any life
	buried    map[session.NodeID]bool          // in this life, by their start records, and known until then

	offered, left map[session.OpenKey]bool      // opens that were offered, and that left before they were
	until         map[session.OpenKey]time.Time // how long they may wait
	sayings       sayings
}

func (w *World) newBroker(name string) *brokerPart {
	b := &brokerPart{process: process{w: w, name: name}, host: w.host(), lost: map[session.NodeID]bool{}}
	b.boot()
	return b
}

// boot begins a life: nothing is known but the address.
func (b *brokerPart) boot() {
	cfg := b.claim()
	cfg.Name, cfg.Lease, cfg.Tick, cfg.Recovery = b.name, b.w.plan.lease, tick, recovery
	b.core = core.New(b.now(), cfg)
	b.peers, b.dead, b.next = map[wire.Peer]*link{}, map[wire.Peer]bool{}, wire.Peer(b.life)<<10 // no two lives share one
	b.joined, b.buried = map[session.NodeID]time.Duration{}, map[session.NodeID]bool{}
	b.offered, b.left = map[session.OpenKey]bool{}, map[session.OpenKey]bool{}
	b.until, b.sayings = map[session.OpenKey]time.Time{}, newSayings()
	b.started = b.w.now
	b.start(b.turn)
	b.w.note("%-8s + starts, life %d", b.name, b.life)
}

// recovery is how long a broker waits for its nodes after its start.
const recovery = 4 * time.Second

func (b *brokerPart) crash() {
	b.w.note("%-8s ! crashes", b.name)
	b.die()
	fall(b.links)
	b.links = slices.DeleteFunc(b.links, (*link).over)
}

func (b *brokerPart) proc() *process { return &b.process }

func (b *brokerPart) keep(l *link) { b.links = append(b.links, l) }

// welcomePeer gives a connection that came up its peer.
func (b *brokerPart) welcomePeer(l *link) wire.Peer {
	b.next++
	peer := b.next
	b.peers[peer] = l
	b.w.note("%-8s   %s connects as peer %d", b.name, l.dealer.proc().name, peer)
	if b.w.plan.fresh {
		b.run(func() {
			b.fx.Reset()
			b.core.Fresh(peer, &b.fx)
			b.apply()
		})
	}
	return peer
}

// cutPeer notes that a connection broke. The broker learns it when it sends
// there, or by and by.
func (b *brokerPart) cutPeer(peer wire.Peer) {
	if !b.alive || b.peers[peer] == nil {
		return
	}
	delete(b.peers, peer)
	b.dead[peer] = false
	b.after(b.w.chance.between(0, 5*time.Second), func() { b.gone(peer) })
}

func (b *brokerPart) gone(peer wire.Peer) {
	if b.dead[peer] {
		return
	}
	b.dead[peer] = true
	b.w.note("%-8s   peer %d is gone", b.name, peer)
	b.fx.Reset()
	b.core.Gone(b.now(), peer, &b.fx)
	b.apply()
}

func (b *brokerPart) receive(from wire.Peer, env []byte) {
	if b.w.history != nil {
		b.w.note("%-8s < %-4d       %s", b.name, from, env)
	}
	b.watchWait(env)
	b.watchSay(from, env)
	b.fx.Reset()
	b.core.Step(b.now(), from, b.arrived.take(env), &b.fx)
	b.registered(from, env)
	b.core.Flush(&b.fx)
	b.watchQueue(env)
	b.apply()
	b.arrived.spoil()
}

func (b *brokerPart) turn() {
	b.fx.Reset()
	b.core.Tick(b.now(), &b.fx)
	b.apply()
}

// apply does what the server does: it sends, and forgets what cannot be sent.
func (b *brokerPart) apply() {
	for _, o := range b.fx.Outs {
		b.watchOffer(o.To, o.Env)
		l := b.peers[o.To]
		if l == nil || !l.up || l.router != o.To {
			peer := o.To
			b.w.note("%-8s   unreachable  %d %s", b.name, peer, o.Env)
			if told, known := b.dead[peer]; known && !told {
				b.after(0, func() { b.gone(peer) })
			}
			continue
		}
		if b.w.history != nil {
			b.w.note("%-8s > %-8s   %s", b.name, l.dealer.proc().name, o.Env)
		}
		l.back(b.w.keep(o.Env))
	}
	for i := range b.fx.Events {
		e := &b.fx.Events[i]
		if b.w.history != nil {
			b.w.note("%-8s * %s %s %s %s", b.name, e.What, e.Name, e.Code, e.Text)
		}
		switch e.What {
		case core.EventNodeJoined:
			if b.buried[e.Node] {
				b.w.fail("%s takes node %s for alive, whose start record it has had", b.name, e.Node)
			}
			b.joined[e.Node] = b.w.now
		case core.EventNodeLost:
			recorded := byRecord(e.Text)
			b.buried[e.Node] = recorded && b.knewAlways(e.Node)
			b.lost[e.Node] = true
			b.w.truth.lost(b, e.Node, recorded)
		case core.EventBad:
			b.w.truth.bad(b.name, e.Code, e.Text)
		}
	}
	b.bequeath()
	if b.fx.Outdated > 0 {
		b.outdated(b.fx.Outdated)
	}
	b.w.auditBroker(b)
}

// watchQueue sees to it that whoever was told that he left the queue is never
// offered a slot any more.
func (b *brokerPart) watchQueue(env []byte) {
	if wire.KindOf(env) != wire.KindWithdraw {
		return
	}
	asked, _ := wire.ParseControl(env)
	m, ok := asked.(*wire.Withdraw)
	for _, o := range b.fx.Outs {
		if !ok || wire.KindOf(o.Env) != wire.KindRefused {
			continue
		}
		key := session.OpenKey{Client: m.Client, Request: m.Request}
		if r, _ := wire.ParseControl(o.Env); r.(*wire.Refused).Request == m.Request && !b.offered[key] {
			b.left[key] = true
		}
	}
}

func (b *brokerPart) watchOffer(to wire.Peer, env []byte) {
	switch wire.KindOf(env) {
	case wire.KindOffer, wire.KindRevoke:
	default:
		return
	}
	m, err := wire.ParseControl(env)
	if err != nil {
		return
	}
	switch m := m.(type) {
	case *wire.Revoke: // it was on offer to a node that could not be told: the next offer only asks for the answer
		key := session.OpenKey{Client: m.Client, Request: m.Request}
		b.offered[key] = true
		delete(b.left, key)
	case *wire.Offer:
		key := session.OpenKey{Client: m.Client, Request: m.Request}
		if b.waitedTooLong(key) {
			b.w.fail("%s offers open %s after its wait was over", b.name, m.Request)
		}
		if b.offered[key] = true; b.left[key] {
			b.w.fail("%s offers open %s, which had left the queue", b.name, m.Request)
		}
		b.lastOffer = b.w.now
		b.judgeShape(to, m)
	}
}

// underWay is how many of the offers that the broker counts need not be taken yet:
// one that a node declines is made again, as long as its open waits.
func (b *brokerPart) underWay(offers int) int {
	if b.w.now-b.lastOffer < 2*time.Second {
		return offers
	}
	return 0
}

// knew reports that a node was given every chance to be known to this broker:
// it was never given up, and where the broker was restarted, it was back in
// time.
func (b *brokerPart) knew(n session.NodeID) bool {
	at, joined := b.joined[n]
	return !b.lost[n] && joined && (at <= b.started+recovery)
}

// knewAlways reports that a broker has never said of a node that it does not
// know it: to nobody, in this life.
func (b *brokerPart) knewAlways(n session.NodeID) bool {
	_, joined := b.joined[n]
	return b.knew(n) || joined && !b.lost[n] && b.w.truth.nodes[n].born > b.started
}
