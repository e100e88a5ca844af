package core

import (
	"time"

	"github.com/limpet-rpc/limpet/session"
)

// Bounds of what is remembered of opens that are over.
const (
	pastFor  = time.Minute
	pastMost = 1 << 16
)

type pastOpen struct {
	key session.OpenKey
	at  time.Time
}

// past remembers opens that are over, so that a copy that comes late opens
// nothing. It is bounded by age and by number.
type past struct {
	codes map[session.OpenKey]session.Code
	order []pastOpen
}

func newPast() past { return past{codes: map[session.OpenKey]session.Code{}} }

func (p *past) find(key session.OpenKey) (session.Code, bool) {
	code, ok := p.codes[key]
	return code, ok
}

func (p *past) add(now time.Time, key session.OpenKey, code session.Code) {
	if _, known := p.codes[key]; known {
		return
	}
	p.codes[key] = code
	p.order = append(p.order, pastOpen{key, now})
	if len(p.order) > pastMost {
		p.shift()
	}
}

func (p *past) expire(now time.Time) {
	for len(p.order) > 0 && now.Sub(p.order[0].at) > pastFor {
		p.shift()
	}
}

func (p *past) shift() {
	delete(p.codes, p.order[0].key)
	p.order = p.order[1:]
}
