package quiet

import (
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/internal/wire"
)

// A peer has a line a second, and the next says how much was not said.
func TestLineASecond(t *testing.T) {
	var l Log
	now := time.Unix(1000, 0)
	for i := range 10 {
		if unsaid, ok := l.May(now, 1); ok != (i == 0) || unsaid != 0 {
			t.Errorf("message %d: %t, %d unsaid", i, ok, unsaid)
		}
	}
	if unsaid, ok := l.May(now.Add(time.Second), 1); !ok || unsaid != 9 {
		t.Errorf("a second later: %t, %d unsaid, want 9", ok, unsaid)
	}
}

// Who connects anew for every message has no line for each.
func TestFewLinesForAll(t *testing.T) {
	var l Log
	now := time.Unix(1000, 0)
	const peers, seconds = 10_000, 10
	said, counted := 0, 0
	for i := range peers {
		at := now.Add(time.Duration(i) * seconds * time.Second / peers)
		if unsaid, ok := l.May(at, wire.Peer(i+1)); ok {
			said++
			counted += 1 + unsaid
		}
	}
	if said != lines*seconds {
		t.Errorf("%d lines in %d s, want %d", said, seconds, lines*seconds)
	}
	unsaid, ok := l.May(now.Add(time.Minute), 1)
	if counted += 1 + unsaid; !ok || counted != peers+1 {
		t.Errorf("%t: %d messages are said or counted, want %d", ok, counted, peers+1)
	}
	if len(l.peers) > most {
		t.Errorf("%d peers are remembered", len(l.peers))
	}
}
