package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
)

// What errors.Is may be asked, beside what package client names.
var (
	// ErrMissing: there is no such entry, or no more.
	ErrMissing = errors.New("missing")
	// ErrConflict: the entry is another than the Swap was told.
	ErrConflict = errors.New("changed meanwhile")
)

// ErrTooLarge is a value over the cache's limit, or over that of a message.
const ErrTooLarge = session.ErrTooLarge

// openWait is how long an operation waits for a host where it finds none, and
// openPause how long after it the others do not try.
const (
	openWait  = 2 * time.Second
	openPause = 500 * time.Millisecond
)

// Cache is a pool's cache, seen from one namespace of it. It is safe for
// concurrent use, opens its session with the first operation and again where that
// is over, and blocks for a trip to the host and back.
type Cache struct {
	link  *link
	scope string
}

// Option says more about a Cache.
type Option func(*link)

// On takes the host whose node has these labels.
func On(labels map[string]string) Option { return func(l *link) { l.labels = labels } }

// New is the cache of a pool, for a program that has this client. It neither
// blocks nor fails: operations do. One for each process is enough.
func New(c *client.Client, pool string, opts ...Option) *Cache {
	l := &link{client: c, pool: pool + suffix, turn: make(chan struct{}, 1)}
	for _, o := range opts {
		o(l)
	}
	return &Cache{link: l}
}

// Job is the namespace of one job, by any name for it; the id of its hooks'
// session is one. Its entries end by their time, or make room, like all others.
func (c *Cache) Job(id string) *Cache { return &Cache{link: c.link, scope: "job " + id} }

// Session is the namespace of one session, which its handlers and its holder
// both know by its id.
func (c *Cache) Session(id session.ID) *Cache {
	return &Cache{link: c.link, scope: "session " + id.String()}
}

// Close ends the session with the host, of all namespaces. A later operation
// opens another.
func (c *Cache) Close(ctx context.Context) error { return c.link.close(ctx) }

// Get returns a value, which is the caller's own, or ErrMissing.
func (c *Cache) Get(ctx context.Context, key string) ([]byte, error) {
	value, _, err := c.Load(ctx, key)
	return value, err
}

// Load is Get, with the entry's version for Swap. No two values of a key have
// the same version.
func (c *Cache) Load(ctx context.Context, key string) (value []byte, version uint64, err error) {
	r, err := c.do(ctx, methodGet, ask{Key: key})
	return r.Value, r.Version, err
}

// Set stores a value for ttl, to the millisecond; 0 is without end, and below 0 is
// over at once. ErrTooLarge where it is over the limit.
func (c *Cache) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	_, err := c.do(ctx, methodSet, ask{Key: key, Value: value, Millis: millis(ttl)})
	return err
}

// Swap stores a value only where the entry has this version still, 0 for one
// that is missing, and returns the new version. ErrConflict where it is another;
// ErrMissing where it is gone. Where the host is lost meanwhile it may have been
// done (client.ErrUnknown), in a cache that is gone.
func (c *Cache) Swap(ctx context.Context, key string, version uint64, value []byte, ttl time.Duration) (uint64, error) {
	r, err := c.do(ctx, methodSwap, ask{Key: key, Value: value, Millis: millis(ttl), Version: version})
	return r.Version, err
}

// Delete removes an entry; ErrMissing where there is none.
func (c *Cache) Delete(ctx context.Context, key string) error {
	_, err := c.do(ctx, methodDelete, ask{Key: key})
	return err
}

// Stats is what the whole cache holds.
func (c *Cache) Stats(ctx context.Context) (Stats, error) {
	r, err := c.do(ctx, methodStats, ask{})
	if err != nil || r.Stats == nil {
		return Stats{}, err
	}
	return *r.Stats, nil
}

// millis rounds up: what was to live does. What was over before lives for one, for 0
// is without end.
func millis(ttl time.Duration) int64 {
	ms := int64(ttl / time.Millisecond)
	if ttl%time.Millisecond > 0 {
		ms++
	}
	if ttl < 0 {
		return 1
	}
	return ms
}

// do makes one operation.
func (c *Cache) do(ctx context.Context, method string, a ask) (r answer, err error) {
	a.Scope = c.scope
	if err = c.link.call(ctx, method, &a, &r); err == nil {
		err = r.err(&a)
	}
	if err != nil {
		err = fmt.Errorf("cache %s: %s %.80q: %w", c.link.pool, method, a.Key, err)
	}
	return r, err
}

// err is what an answer says.
func (r *answer) err(a *ask) error {
	switch r.Verdict {
	case done:
		return nil
	case missing:
		return ErrMissing
	case conflict:
		return fmt.Errorf("%w: version %d, not %d", ErrConflict, r.Version, a.Version)
	case tooLarge:
		return &session.Error{Code: ErrTooLarge, Text: fmt.Sprintf("value of %d bytes, at most %d", len(a.Value), r.Limit), Remote: true}
	case badKey:
		return &session.Error{
			Code: session.ErrBadArgument, Text: fmt.Sprintf("key of %d bytes in a namespace of %d: want 1 to %d", len(a.Key), len(a.Scope), r.Limit), Remote: true,
		}
	default:
		return &session.Error{Code: session.ErrBadMessage, Text: fmt.Sprintf("verdict %d", r.Verdict)}
	}
}
