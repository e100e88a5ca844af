package client

import (
	"context"
	"errors"
	"testing"

	"github.com/limpet-rpc/limpet/client/core"
)

// A call of a closed client ends in an error of its own: what one caller's
// context adds to it is no other caller's.
func TestErrorOfAClosedClientIsNobodyElses(t *testing.T) {
	c := &Client{closed: true}
	c.spare.New = func() any { return new(core.Effects) }
	s := &Session{client: c}
	ctx, cancel := context.WithCancel(context.Background())
	p := s.Go(ctx, "m", nil)
	cancel()
	if err := p.Wait(nil); !errors.Is(err, ErrClientDone) {
		t.Fatal(err)
	}
	if err := s.Call(context.Background(), "m", nil, nil); errors.Is(err, context.Canceled) {
		t.Errorf("a call whose context goes on: %v", err)
	}
}
