package cache

import (
	"context"
	"errors"
	"fmt"

	"github.com/limpet-rpc/limpet/worker"
)

// Defaults and bounds of a Config.
const (
	DefaultBytes = 64 << 20
	DefaultValue = 1 << 20
	MaxValue     = 4 << 20 // half of what one message may be
	MaxKey       = 1024    // bytes of a key

	clients = 1024 // sessions at once, one for each process that uses it
	window  = 1024 // calls in flight of one of them
)

// Config describes a pool's cache.
type Config struct {
	Pool  string // whose cache it is; it is served as POOL/cache
	Bytes int    // of all keys and values, with 64 for each entry; default 64 MiB
	Value int    // bytes of one value, default 1 MiB; at most 4 MiB and a quarter of Bytes
}

// Pool is the cache as worker.Serve takes it, empty at first. One node of the
// pool serves it; see the package's text. A Config that cannot be is an error.
func Pool(c Config) (worker.Served, error) {
	if c.Bytes == 0 {
		c.Bytes = DefaultBytes
	}
	if c.Value == 0 {
		c.Value = min(DefaultValue, c.Bytes/4)
	}
	switch most := min(MaxValue, c.Bytes/4); {
	case worker.InWorkerProcess():
		return nil, fmt.Errorf("cache of pool %q: each worker process would have its own; serve it without SlotsPerProcess", c.Pool)
	case c.Pool == "":
		return nil, errors.New("cache: the name of its pool is missing")
	case c.Value < 1 || c.Value > most:
		return nil, fmt.Errorf("cache of pool %q, %d bytes: values of %d bytes, want 1 to %d", c.Pool, c.Bytes, c.Value, most)
	}
	s := newStore(c)
	p := worker.NewPool(worker.Config[struct{}]{Pool: c.Pool + suffix, Slots: clients, Window: window})
	worker.Handle(p, methodGet, func(_ context.Context, _ struct{}, a ask) (answer, error) { return s.get(a), nil })
	worker.Handle(p, methodSet, func(_ context.Context, _ struct{}, a ask) (answer, error) { return s.set(a), nil })
	worker.Handle(p, methodSwap, func(_ context.Context, _ struct{}, a ask) (answer, error) { return s.swap(a), nil })
	worker.Handle(p, methodDelete, func(_ context.Context, _ struct{}, a ask) (answer, error) { return s.delete(a), nil })
	worker.Handle(p, methodStats, func(ctx context.Context, _ struct{}, _ ask) (answer, error) {
		stats := s.stats()
		node, _ := worker.SessionFrom(ctx).Node()
		stats.Host = node.String()
		return answer{Stats: &stats}, nil
	})
	return p, nil
}
