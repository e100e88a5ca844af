package core

import (
	"slices"
	"time"

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
// every copy of every call of it.
type pastSession struct {
	id     session.ID
	open   session.OpenKey
	key    session.Key
	callee *session.Callee[Call] // nil for an open that never became a session
	why    *session.Error
	epoch  uint32 // of its last holder
	moves  []uint64
	live   *wire.Live // of one whose first call came along: brokers may be asked for it again
	at     time.Time
}

// past remembers them, bounded by age, number and bytes.
type past struct {
	byID   map[session.ID]*pastSession
	byOpen map[session.OpenKey]*pastSession
	order  []*pastSession
	bytes  int
}

func newPast() past {
	return past{byID: map[session.ID]*pastSession{}, byOpen: map[session.OpenKey]*pastSession{}}
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

func (p *past) find(id session.ID) *pastSession { return p.byID[id] }

func (p *past) opened(key session.OpenKey) (*pastSession, bool) {
	s, ok := p.byOpen[key]
	return s, ok
}

func (p *past) add(now time.Time, s *Session) {
	r := &pastSession{id: s.id, open: s.open, key: s.key, callee: s.callee, why: s.why, epoch: s.epoch, moves: s.moves, at: now}
	if s.carried {
		live := s.live()
		live.Over = true
		r.live = &live
	}
	p.byID[s.id], p.byOpen[s.open] = r, r
	s.callee.Shrink()
	p.bytes += s.callee.Bytes()
	p.push(r)
}

func (p *past) addOpen(now time.Time, key session.OpenKey, why *session.Error) {
	if p.byOpen[key] != nil {
		return
	}
	r := &pastSession{open: key, why: why, at: now}
	p.byOpen[key] = r
	p.push(r)
}

func (p *past) push(r *pastSession) {
	p.order = append(p.order, r)
	for len(p.order) > pastMost || p.bytes > pastBytes {
		p.shift()
	}
}

// repliesMost bounds the ended sessions that a Register brings along.
const repliesMost = 4096

// replies returns the latest sessions whose first call came along and that have
// ended: a broker that was restarted needs them to answer a repeated open.
func (p *past) replies() []wire.Live {
	var list []wire.Live
	for _, r := range slices.Backward(p.order) {
		if r.live != nil && len(list) < repliesMost {
			list = append(list, *r.live)
		}
	}
	return list
}

func (p *past) expire(now time.Time) {
	for len(p.order) > 0 && now.Sub(p.order[0].at) > pastFor {
		p.shift()
	}
}

func (p *past) shift() {
	r := p.order[0]
	p.order[0] = nil
	p.order = p.order[1:]
	delete(p.byOpen, r.open)
	if r.callee != nil {
		delete(p.byID, r.id)
		p.bytes -= r.callee.Bytes()
	}
}
