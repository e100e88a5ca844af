package core

import (
	"time"

	"github.com/limpet-rpc/limpet/internal/recent"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Bounds of what is remembered of opens that are over.
const (
	pastFor  = time.Minute
	pastMost = 1 << 16
)

// pastOpen is what is remembered of an open that is over. It holds no
// pointers.
type pastOpen struct {
	key     session.OpenKey
	code    session.Code
	unknown bool          // a call came along that may have run
	routed  bool          // its session's first call came along: its node keeps the reply
	route   uint64        // its number among the routes
	at      time.Duration // since the first of all
}

// pastRoute is the session of such an open, but for what the open's key says.
type pastRoute struct {
	node        *node
	pool        string
	session     session.ID
	key         session.Key
	incarnation uint64
	worker      int
	epoch       uint32
	limits      wire.Limits
}

// past remembers opens that are over, so that a copy that comes late opens
// nothing. It is bounded by age and by number; horizon is since when it knows
// all of them.
type past struct {
	opens   *recent.Index[session.OpenKey, pastOpen]
	all     *recent.Ring[pastOpen]
	routes  recent.Ring[pastRoute] // of those of all that have one, in the same order
	base    time.Time
	horizon time.Time
}

func newPast() past {
	all := new(recent.Ring[pastOpen])
	return past{all: all, opens: recent.NewIndex(all, func(o *pastOpen) session.OpenKey { return o.key })}
}

func (p *past) find(key session.OpenKey) (pastOpen, bool) {
	if o, _ := p.opens.Find(key); o != nil {
		return *o, true
	}
	return pastOpen{}, false
}

// leaseOf is the session of an open that has a route.
func (p *past) leaseOf(o pastOpen) *lease {
	r := p.routes.At(o.route)
	return &lease{node: r.node, live: wire.Live{
		Client: o.key.Client, Request: o.key.Request, Pool: r.pool, Worker: r.worker, Incarnation: r.incarnation,
		Session: r.session, Key: r.key, Epoch: r.epoch, Limits: r.limits,
	}}
}

// add remembers an open; its session where its first call came along, else nil.
func (p *past) add(now time.Time, o pastOpen, n *node, live *wire.Live) {
	if known, _ := p.opens.Find(o.key); known != nil {
		return
	}
	if p.base.IsZero() {
		p.base = now
	}
	o.at = now.Sub(p.base)
	if live != nil {
		o.routed = true
		o.route = p.routes.Push(pastRoute{
			node: n, pool: n.poolName(live.Pool), session: live.Session, key: live.Key,
			incarnation: live.Incarnation, worker: live.Worker, epoch: live.Epoch, limits: live.Limits,
		})
	}
	if p.all.Len() == pastMost {
		p.shift()
	}
	p.opens.Put(o.key, p.all.Push(o))
}

// forget takes back that an open is over.
func (p *past) forget(key session.OpenKey) { p.opens.Forget(key) }

func (p *past) expire(now time.Time) {
	for o, _ := p.all.Oldest(); o != nil && now.Sub(p.base)-o.at > pastFor; o, _ = p.all.Oldest() {
		p.shift()
	}
}

func (p *past) shift() {
	o, n := p.all.Oldest()
	p.horizon = p.base.Add(o.at)
	p.opens.Drop(n)
	if o.routed {
		p.routes.Drop()
	}
	p.all.Drop()
}
