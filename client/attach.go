package client

import (
	"context"
	"fmt"
	"time"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/session"
)

// Token is what another process needs to carry on with this session, as one
// word. Whoever has it may attach: keep it as you keep a password.
func (s *Session) Token() string { return s.core.Token().Text() }

// AttachOption says more about the session that Attach expects.
type AttachOption func(*attachConfig)

type attachConfig struct{ pool string }

// InPool has Attach refuse a token of any other pool.
func InPool(pool string) AttachOption { return func(c *attachConfig) { c.pool = pool } }

// Attach takes a session over by its token and blocks until its node has
// agreed or ctx ends. From then on it is this client's: whoever held it before
// gets ErrSessionMoved, what was queued there is not run, and the call that
// runs goes on to its end. Errors: ErrTokenInvalid for a token that is forged,
// cut short or of another pool, and what became of the session otherwise.
func (c *Client) Attach(ctx context.Context, token string, opts ...AttachOption) (*Session, error) {
	var cfg attachConfig
	for _, o := range opts {
		o(&cfg)
	}
	s, err := c.attach(ctx, token, cfg.pool)
	if err != nil {
		return nil, fmt.Errorf("attach to a session: %w", err)
	}
	return s, nil
}

func (c *Client) attach(ctx context.Context, text, pool string) (*Session, error) {
	token, err := session.ParseToken(text)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, gaveUp(err)
	}
	w := unpooledOpening()
	var refused *session.Error
	if !c.step(func(now time.Time, fx *core.Effects) { refused = c.core.Attach(now, token, pool, w, fx) }) {
		return nil, errDone
	}
	if refused != nil {
		return nil, refused
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		given := false
		c.step(func(time.Time, *core.Effects) { given = c.core.GiveUpAttach(w) })
		if given {
			e := gaveUp(ctx.Err())
			e.Outcome, e.Text = session.Unknown, "the session may have moved here; its lease ends it then"
			return nil, e
		}
		<-w.done // its end is on the way here, and this client would keep its lease
	}
	if w.err != nil {
		return nil, w.err
	}
	return c.session(w.session), nil
}

func (c *Client) session(s *core.Session) *Session {
	return &Session{client: c, core: s}
}
