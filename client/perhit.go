package client

import (
	"context"
	"net/http"
	"sync"
	"time"
)

type hitKey struct{}

// hit is one HTTP request's session, opened by the first that asks for it.
type hit struct {
	client *Client
	pool   string
	opts   []OpenOption

	once    sync.Once
	session *Session
	err     error
}

// hitClose bounds the Close at the end of a hit. The lease ends the session
// where it cannot be said.
const hitClose = 5 * time.Second

// PerHit is middleware that gives every hit a session of its own in the pool:
// opened when the handler first asks for it through HitSession, closed when
// the hit ends, however it ends. A hit that never asks opens none.
func PerHit(c *Client, pool string, opts ...OpenOption) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h := &hit{client: c, pool: pool, opts: opts}
			defer h.end(r.Context())
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), hitKey{}, h)))
		})
	}
}

// HitSession returns the session of the hit that ctx belongs to and opens it
// at the first use, blocking as Client.Open does. All uses within one hit get
// the same session, or the same error.
func HitSession(ctx context.Context) (*Session, error) {
	h, ok := ctx.Value(hitKey{}).(*hit)
	if !ok {
		return nil, errNoHit
	}
	h.once.Do(func() { h.session, h.err = h.client.Open(ctx, h.pool, h.opts...) })
	return h.session, h.err
}

func (h *hit) end(ctx context.Context) {
	h.once.Do(func() { h.err = errNoHit }) // whoever asks after the end gets no session
	if h.session == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hitClose)
	defer cancel()
	if err := h.session.Close(ctx); err != nil {
		h.client.log.Warn("a hit's session was not closed; its lease ends it", "session", h.session.ID(), "error", err)
	}
}
