package core

import (
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/session"
)

// declined remembers the offers that were declined, so that a copy of one that
// comes late is declined too: by then another node may have taken the open. It
// is bounded by age and by number, as past is.
type declined struct {
	tries map[declinedKey]bool
	order []declinedAt
}

type declinedKey struct {
	broker uuid.UUID
	open   session.OpenKey
	try    uint32
}

type declinedAt struct {
	declinedKey
	at time.Time
}

func (d *declined) has(b *broker, open session.OpenKey, try uint32) bool {
	return d.tries[declinedKey{b.id, open, try}]
}

func (d *declined) add(now time.Time, b *broker, open session.OpenKey, try uint32) {
	k := declinedKey{b.id, open, try}
	if d.tries[k] {
		return
	}
	if d.tries == nil {
		d.tries = map[declinedKey]bool{}
	}
	d.tries[k] = true
	d.order = append(d.order, declinedAt{k, now})
	if len(d.order) > pastMost {
		d.shift()
	}
}

func (d *declined) expire(now time.Time) {
	for len(d.order) > 0 && now.Sub(d.order[0].at) > pastFor {
		d.shift()
	}
}

func (d *declined) shift() {
	delete(d.tries, d.order[0].declinedKey)
	d.order = d.order[1:]
}
