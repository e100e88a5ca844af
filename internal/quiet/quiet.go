// Package quiet answers one question: may this be said again already? It keeps
// a log to one line a second for each peer that does something wrong.
package quiet

import (
	"sync"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// most bounds the peers that are told apart.
const most = 4096

type held struct {
	said  time.Time
	since int
}

// Log says when a line about a peer may be written. The zero value is ready;
// it is safe for concurrent use.
type Log struct {
	mu    sync.Mutex
	peers map[wire.Peer]held
}

// May reports whether a line about peer may be written now, and how many were
// not written since the last one.
func (l *Log) May(now time.Time, peer wire.Peer) (unsaid int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.peers == nil || len(l.peers) > most {
		l.peers = map[wire.Peer]held{}
	}
	h := l.peers[peer]
	if now.Sub(h.said) < time.Second {
		h.since++
		l.peers[peer] = h
		return 0, false
	}
	l.peers[peer] = held{said: now}
	return h.since, true
}
