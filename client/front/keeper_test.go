package front

import (
	"sync/atomic"
	"testing"
	"time"
)

// A session whose turn is over is closed once, when its last call has ended.
func TestKeptSessionIsClosedOnce(t *testing.T) {
	for name, until := range map[string]time.Time{"with its last call": {}, "before its last call": time.Now().Add(time.Hour)} {
		var closes atomic.Int32
		k := &keeper{most: 1, ahead: 4, end: func(*held) { closes.Add(1) }}
		h := &held{until: until, calls: 2}
		k.open = append(k.open, h)
		if !until.IsZero() {
			k.mu.Lock()
			k.retire(h)
			k.mu.Unlock()
		}
		k.leave(h)
		k.leave(h)
		k.opens.Wait()
		if n := closes.Load(); n != 1 || len(k.open) != 0 {
			t.Errorf("one whose turn ends %s is closed %d times, and %d are in use", name, n, len(k.open))
		}
	}
}
