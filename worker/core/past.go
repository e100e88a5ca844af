package core

import (
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/recent"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Bounds of what is remembered of sessions that have ended.
const (
	pastFor   = time.Minute
	pastMost  = 1 << 16
	pastBytes = 64 << 20 // of replies
)

// pastSession is what is kept of a session that has ended: enough to answer
// every copy of every call of it. An open that never became a session has no
// pool and no replies.
type pastSession struct {
	open          session.OpenKey
	id            session.ID
	key           session.Key
	pool          *pool
	why           *session.Error
	more          *pastMore // nil for most
	replies       session.Remains
	incarnation   uint64
	at            time.Duration // since the first of all
	slot          int32
	epoch         uint32
	once, carried bool
}

// pastMore is what most sessions do not have: limits that are not their pool's, and
// holders other than the first.
type pastMore struct {
	limits session.Limits
	holder uuid.UUID
	moves  []uint64
}

// keep notes what is to be known of s.
func (p *pastSession) keep(s *Session) {
	p.open, p.id, p.key, p.pool, p.why = s.open, s.id, s.key, s.pool, s.why
	p.incarnation, p.slot, p.epoch, p.once, p.carried = s.incarnation, int32(s.slot), s.epoch, s.once, s.carried
	s.callee.Remain(&p.replies)
	if s.limits() != s.pool.Limits || s.holder != uuid.Nil || len(s.moves) > 0 {
		p.more = &pastMore{s.limits(), s.holder, s.moves}
	}
}

// moves is where the session's numbers stood when other clients attached to it.
func (p *pastSession) moves() []uint64 {
	if p.more == nil {
		return nil
	}
	return p.more.moves
}

// past remembers them, bounded by age, number and bytes.
type past struct {
	all    *recent.Ring[pastSession]
	byID   *recent.Index[session.ID, pastSession]
	byOpen *recent.Index[session.OpenKey, pastSession]
	base   time.Time
	bytes  int
	bare   uint64 // the first that may still have the bodies of its replies
}

func newPast() past {
	all := new(recent.Ring[pastSession])
	return past{
		all:    all,
		byID:   recent.NewIndex(all, func(p *pastSession) session.ID { return p.id }),
		byOpen: recent.NewIndex(all, func(p *pastSession) session.OpenKey { return p.open }),
	}
}

// verdict is the answer to a repeated offer: a worker that could not open is
// its client's to know, also where the first answer was lost.
func (p *pastSession) verdict() session.Code {
	if p.why.Code == session.ErrOpenFailed {
		return session.ErrOpenFailed
	}
	if p.why.Code == session.ErrSessionDrained { // nobody had heard of it: another node may have it
		return session.ErrDraining
	}
	return session.ErrWithdrawn
}

// over is how brokers are told of it.
func (p *pastSession) over() wire.Live {
	live := wire.Live{
		Client: p.open.Client, Request: p.open.Request, Pool: p.pool.Name, Worker: int(p.slot), Incarnation: p.incarnation,
		Session: p.id, Key: p.key, Epoch: p.epoch, Limits: wire.LimitsOf(p.pool.Limits), First: p.carried, Once: p.once, Over: true,
	}
	if m := p.more; m != nil {
		live.Limits, live.Holder = wire.LimitsOf(m.limits), m.holder
	}
	return live
}

func (p *past) find(id session.ID) *pastSession {
	r, _ := p.byID.Find(id)
	return r
}

func (p *past) opened(key session.OpenKey) (*pastSession, bool) {
	r, _ := p.byOpen.Find(key)
	return r, r != nil
}

func (p *past) add(now time.Time, s *Session) {
	r, n := p.next()
	r.keep(s)
	r.at = p.since(now)
	p.bytes += r.replies.Bytes()
	p.byID.Put(s.id, n)
	p.byOpen.Put(s.open, n)
	for ; p.bytes > pastBytes && p.bare < n; p.bare++ { // that they were done stays known
		if old := p.all.At(p.bare); old != nil {
			p.bytes -= old.replies.Strip()
		}
	}
}

// since is a time as it is kept.
func (p *past) since(now time.Time) time.Duration {
	if p.base.IsZero() {
		p.base = now
	}
	return now.Sub(p.base)
}

// next makes room for one more.
func (p *past) next() (*pastSession, uint64) {
	if p.all.Len() == pastMost {
		p.shift()
	}
	return p.all.Next()
}

func (p *past) addOpen(now time.Time, key session.OpenKey, why *session.Error) {
	if _, known := p.opened(key); known {
		return
	}
	r, n := p.next()
	r.open, r.why, r.at = key, why, p.since(now)
	p.byOpen.Put(key, n)
}

// repliesMost bounds the ended sessions that a Register brings along.
const repliesMost = 4096

// carried returns the latest sessions whose first call came along and that have
// ended: a broker that was restarted needs them to answer a repeated open.
func (p *past) carried() []wire.Live {
	var list []wire.Live
	for r := range p.all.Backward {
		if r.carried && len(list) < repliesMost {
			list = append(list, r.over())
		}
	}
	return list
}

func (p *past) expire(now time.Time) {
	for r, _ := p.all.Oldest(); r != nil && p.since(now)-r.at > pastFor; r, _ = p.all.Oldest() {
		p.shift()
	}
}

func (p *past) shift() {
	r, n := p.all.Oldest()
	p.byOpen.Drop(n)
	p.byID.Drop(n) // if it has a session
	p.bytes -= r.replies.Bytes()
	p.all.Drop()
}
