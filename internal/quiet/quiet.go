// Package quiet answers one question: may this be said again already? It keeps
// a log to one line a second for each peer that does something wrong, and to a few
// for all together: a stranger is somebody else each time he connects.
package quiet

import (
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
)

const (
	most  = 4096 // peers that are told apart
	lines = 16   // a second, about all peers
)

type held struct {
	said  time.Time
	since int
}

// Log says when a line about a peer may be written. The zero value is ready;
// it is safe for concurrent use.
type Log struct {
	mu     sync.Mutex
	peers  map[wire.Peer]held
	second time.Time // when the lines began that are counted
	lines  int       // written since
	others int       // not written, of peers without a line
}

// May reports whether a line about peer may be written now, and how many were
// not written since the last one: of that peer, and of those that there was no line for.
func (l *Log) May(now time.Time, peer wire.Peer) (unsaid int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.second) >= time.Second {
		l.second, l.lines = now, 0
	}
	h, known := l.peers[peer]
	switch {
	case known && now.Sub(h.said) < time.Second:
		h.since++
		l.peers[peer] = h
		return 0, false
	case l.lines >= lines:
		l.others++
		return 0, false
	}
	if l.peers == nil || len(l.peers) >= most {
		l.peers = map[wire.Peer]held{}
	}
	l.peers[peer] = held{said: now}
	l.lines++
	unsaid, l.others = h.since+l.others, 0
	return unsaid, true
}
