package core

import (
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// Bounds of what is remembered of opens that are over.
const (
	pastFor  = time.Minute
	pastMost = 1 << 16
)

// pastOpen is what is remembered of an open that is over.
type pastOpen struct {
	code    session.Code
	unknown bool         // a call came along that may have run
	route   *wire.Opened // of a session whose first call came along: its reply is kept by its node
}

type pastKey struct {
	key session.OpenKey
	at  time.Time
}

// past remembers opens that are over, so that a copy that comes late opens
// nothing. It is bounded by age and by number; horizon is since when it knows
// all of them.
type past struct {
	opens   map[session.OpenKey]pastOpen
	order   []pastKey
	horizon time.Time
}

func newPast() past { return past{opens: map[session.OpenKey]pastOpen{}} }

func (p *past) find(key session.OpenKey) (pastOpen, bool) {
	o, ok := p.opens[key]
	return o, ok
}

func (p *past) add(now time.Time, key session.OpenKey, o pastOpen) {
	if _, known := p.opens[key]; known {
		return
	}
	p.opens[key] = o
	p.order = append(p.order, pastKey{key, now})
	if len(p.order) > pastMost {
		p.shift()
	}
}

// forget takes back that an open is over.
func (p *past) forget(key session.OpenKey) { delete(p.opens, key) }

func (p *past) expire(now time.Time) {
	for len(p.order) > 0 && now.Sub(p.order[0].at) > pastFor {
		p.shift()
	}
}

func (p *past) shift() {
	p.horizon = p.order[0].at
	delete(p.opens, p.order[0].key)
	p.order = p.order[1:]
}
