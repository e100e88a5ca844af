package client

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/zmqio"
)

// A call of a closed client ends in an error of its own: what one caller's
// context adds to it is no other caller's.
func TestErrorOfAClosedClientIsNobodyElses(t *testing.T) {
	c := &Client{closed: true, core: core.New(core.Config{}, rand.Reader)}
	c.spare.New = func() any { return new(core.Effects) }
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	var err error
	if c.loop, err = zmqio.NewLoop(c, zmqio.Options{}); err == nil {
		err = c.loop.Run(ctx) // it has ended at once
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &Session{client: c, core: new(core.Session)}
	ctx, cancel = context.WithCancel(context.Background())
	p := s.Go(ctx, "m", nil)
	cancel()
	if err := p.Wait(nil); !errors.Is(err, ErrClientDone) {
		t.Fatal(err)
	}
	if err := s.Call(context.Background(), "m", nil, nil); errors.Is(err, context.Canceled) {
		t.Errorf("a call whose context goes on: %v", err)
	}
}
