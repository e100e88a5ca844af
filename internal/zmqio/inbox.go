package zmqio

import (
	"sync"
	"sync/atomic"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// inbox is what other goroutines want the loop to do: functions to run, and
// peers to report as gone.
type inbox struct {
	waiting atomic.Bool // looked at before parking; set after every addition

	mu    sync.Mutex
	calls []func()
	gone  []wire.Peer
}

func (b *inbox) addCall(f func()) {
	b.mu.Lock()
	b.calls = append(b.calls, f)
	b.waiting.Store(true)
	b.mu.Unlock()
}

func (b *inbox) addGone(p wire.Peer) {
	b.mu.Lock()
	b.gone = append(b.gone, p)
	b.waiting.Store(true)
	b.mu.Unlock()
}

func (b *inbox) take() (calls []func(), gone []wire.Peer) {
	if !b.waiting.Load() {
		return nil, nil
	}
	b.mu.Lock()
	calls, gone = b.calls, b.gone
	b.calls, b.gone = nil, nil
	b.waiting.Store(false)
	b.mu.Unlock()
	return calls, gone
}
