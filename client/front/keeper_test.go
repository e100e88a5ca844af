package front

import (
	"sync/atomic"
	"testing"
)

// A session whose turn is over is closed once, when its last call has ended.
func TestKeptSessionIsClosedOnce(t *testing.T) {
	for name, end := range map[string]func(*keeper, *held){
		"by its turn": func(k *keeper, h *held) { k.look(h) },
		"by a loss": func(k *keeper, h *held) {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.retire(h)
		},
	} {
		var closes atomic.Int32
		k := &keeper{most: 1, ahead: 4, end: func(*held) { closes.Add(1) }}
		h := &held{calls: 2} // whose turn has long been over
		k.open = append(k.open, h)
		end(k, h)
		k.leave(h)
		if closes.Load() != 0 {
			t.Errorf("one that ends %s is closed while it is in use", name)
		}
		k.leave(h)
		k.opens.Wait()
		if n := closes.Load(); n != 1 || len(k.open) != 0 {
			t.Errorf("one that ends %s is closed %d times, and %d are in use", name, n, len(k.open))
		}
	}
}
