package core

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// visit joins a session to its node's direct path and parts it again, and
// returns how often that made the client dial.
func visit(c *Core, now time.Time) (dials int) {
	var fx Effects
	s := &Session{route: session.Route{Node: 1, Endpoint: "tcp://192.0.2.1:7"}}
	c.shortCut(now, s, &fx)
	for _, d := range fx.Dials {
		c.Dialled(now, d.Node, 5, &fx)
	}
	c.part(s)
	return len(fx.Dials)
}

func TestPathThatDoesNotAnswerIsRemembered(t *testing.T) {
	now := time.Now()
	c := New(Config{ID: uuid.UUID{1}}, rand.NewChaCha8([32]byte{}))
	var fx Effects
	dials, hangups := 0, 0
	for range 30 * 10 { // thirty seconds, a session every 100 ms
		dials += visit(c, now)
		now = now.Add(100 * time.Millisecond)
		fx.Reset()
		c.Tick(now, &fx)
		hangups += len(fx.Hangups)
	}
	if dials != 1 || hangups != 1 {
		t.Errorf("%d dials and %d hang-ups in 30 s, want one each", dials, hangups)
	}
	for range 70 * 10 {
		now = now.Add(100 * time.Millisecond)
		fx.Reset()
		c.Tick(now, &fx)
	}
	if n := c.Sizes().Directs; n != 0 {
		t.Errorf("%d paths are remembered without a session for more than a minute", n)
	}
}

func TestSecondConnectionIsHungUp(t *testing.T) {
	now := time.Now()
	c := New(Config{ID: uuid.UUID{1}}, rand.NewChaCha8([32]byte{}))
	visit(c, now)
	var fx Effects
	c.Dialled(now, 1, 6, &fx)
	if len(fx.Hangups) != 1 || fx.Hangups[0] != wire.Peer(6) {
		t.Errorf("hung up %v, want 6", fx.Hangups)
	}
	c.Dialled(now, 2, 7, &fx)
	if len(fx.Hangups) != 2 {
		t.Error("a connection that nobody wants stays")
	}
}

func TestNamesAreNotDialled(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"tcp://127.0.0.1:7": true, "tcp://[::1]:7": true, "ipc:///tmp/x": true,
		"tcp://host.example:7": false, "tcp://localhost:7": false, "tcp://:7": false, "": false,
	} {
		if got := dialable(endpoint); got != want {
			t.Errorf("%q: %v", endpoint, got)
		}
	}
}
