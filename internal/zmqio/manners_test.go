package zmqio

import (
	"testing"
	"time"
)

// Who loses a turn by giving way does not do so for a while, which grows each time,
// and shrinks again where it costs nothing.
func TestManners(t *testing.T) {
	var m manners
	now := time.Unix(1000, 0)
	if !m.polite(now) {
		t.Error("not polite to begin with")
	}
	m.learn(now, turnTaken-1)
	if !m.polite(now) {
		t.Error("not polite although nothing was lost")
	}
	for _, pause := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
		m.learn(now, turnTaken)
		now = now.Add(turnTaken + time.Duration(pause)*time.Second - 1)
		if m.polite(now) {
			t.Errorf("polite within %d s", pause)
		}
		if now = now.Add(1); !m.polite(now) {
			t.Errorf("not polite after %d s", pause)
		}
	}
	for range 40 {
		m.learn(now, 0)
	}
	m.learn(now, turnTaken)
	if now = now.Add(turnTaken + time.Second); !m.polite(now) {
		t.Error("what was long ago counts")
	}
	m.until.Store(now.UnixNano() + 1)
	m.giveWay(now) // does not, and learns nothing
	if m.pause.Load() != pauseLeast {
		t.Error("it gave way")
	}
}
