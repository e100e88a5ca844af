package tests

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/cache"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// cached is the cache of the pool "jobs".
func cached(t testing.TB, limit int) worker.Served {
	t.Helper()
	p, err := cache.Pool(cache.Config{Pool: "jobs", Value: limit})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// cacheRole hosts it, and nothing else.
func cacheRole(ctx context.Context) error {
	p, err := cache.Pool(cache.Config{Pool: "jobs"})
	if err != nil {
		return err
	}
	return worker.Serve(ctx, worker.Options{Broker: os.Getenv("BROKER"), Name: "cache", Beat: millis("BEAT"), Misses: setting("MISSES"), Logger: quiet()}, p)
}

// Two clients and a handler see the same values; namespaces keep them apart, and
// what is missing says so.
func TestCache(t *testing.T) {
	c := newCell(t, broker.Options{})
	inside := cache.New(c.dial(t), "jobs")
	p := worker.NewPool(worker.Config[struct{}]{Pool: "jobs", Slots: 2})
	worker.Handle(p, "read", func(ctx context.Context, _ struct{}, key string) (string, error) {
		value, err := inside.Get(ctx, key)
		return "worker1" + string(value) + "a message", err
	})
	c.serve(t, worker.Options{}, p, cached(t, 1000))
	one, two := cache.New(c.dial(t), "jobs"), cache.New(c.dial(t), "jobs")
	ctx := t.Context()
	if err := one.Set(ctx, "cached", []byte(" cached data "), 0); err != nil {
		t.Fatal(err)
	}
	if v, err := two.Get(ctx, "cached"); err != nil || string(v) != " cached data " {
		t.Errorf("the other client reads %q, %v", v, err)
	}
	cl := c.dial(t)
	if text, err := client.Do[string](ctx, cl, "jobs", "read", "cached"); err != nil || text != "worker1 cached data a message" {
		t.Errorf("the handler reads %q, %v", text, err)
	}
	if _, err := client.Do[string](ctx, cl, "jobs", "read", "nothing"); !errors.Is(err, client.ErrMethod) || !contains(err.Error(), "missing") {
		t.Errorf("the handler misses %v", err)
	}
	id := session.ID{1}
	for name, space := range map[string]*cache.Cache{"job": two.Job("7"), "another job": two.Job("8"), "session": two.Session(id)} {
		if _, err := space.Get(ctx, "cached"); !errors.Is(err, cache.ErrMissing) {
			t.Errorf("%s: %v, want missing", name, err)
		}
		if err := space.Set(ctx, "cached", []byte(name), 0); err != nil {
			t.Error(err)
		}
	}
	if v, err := one.Job("7").Get(ctx, "cached"); err != nil || string(v) != "job" {
		t.Errorf("the job's is %q, %v", v, err)
	}
	if err := two.Delete(ctx, "cached"); err != nil {
		t.Error(err)
	}
	if err := one.Delete(ctx, "cached"); !errors.Is(err, cache.ErrMissing) || !contains(err.Error(), `delete "cached"`) {
		t.Errorf("a missing delete: %v", err)
	}
	if err := one.Set(ctx, "large", make([]byte, 1001), 0); !errors.Is(err, cache.ErrTooLarge) || !contains(err.Error(), "value of 1001 bytes, at most 1000") {
		t.Errorf("a large value: %v", err)
	}
	if err := one.Set(ctx, "larger", make([]byte, 9<<20), 0); !errors.Is(err, cache.ErrTooLarge) {
		t.Errorf("a value that no message carries: %v", err)
	}
	if err := one.Set(ctx, "soon", []byte("x"), time.Millisecond); err != nil {
		t.Error(err)
	}
	eventually(t, "its time is over", func() bool { _, err := two.Get(ctx, "soon"); return errors.Is(err, cache.ErrMissing) })
	if err := one.Set(ctx, "past", []byte("x"), -time.Second); err != nil {
		t.Error(err)
	}
	eventually(t, "what was set until a second ago is over", func() bool { _, err := two.Get(ctx, "past"); return errors.Is(err, cache.ErrMissing) })
	if st, err := one.Stats(ctx); err != nil || st.Entries != 3 || st.Limit != cache.DefaultBytes {
		t.Errorf("%+v, %v; want the three of the namespaces", st, err)
	}
	if err := errors.Join(one.Close(ctx), two.Close(ctx), inside.Close(ctx), one.Close(ctx)); err != nil {
		t.Error(err)
	}
	eventually(t, "no session is left", func() bool { return c.pool(t, "jobs/cache").Open == 0 })
}

// Many that count by Swap lose nothing, while large values and calls go by.
func TestCacheSwap(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, jobber("w", "jobs", 2), cached(t, 0))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var counting, beside sync.WaitGroup
	var calls atomic.Int64
	cl, bulk := c.dial(t), cache.New(c.dial(t), "jobs")
	beside.Go(func() {
		for ctx.Err() == nil {
			if err := bulk.Set(ctx, "bulk", make([]byte, cache.DefaultValue), 0); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	beside.Go(func() {
		for ctx.Err() == nil {
			if _, err := client.Do[int](ctx, cl, "jobs", "double", 1); err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			calls.Add(1)
		}
	})
	const counters, each = 4, 25
	for range counters {
		k := cache.New(c.dial(t), "jobs")
		counting.Go(func() {
			for n := 0; n < each; {
				value, version, err := k.Load(ctx, "total")
				if err != nil && !errors.Is(err, cache.ErrMissing) {
					t.Error(err)
					return
				}
				total, _ := strconv.Atoi(string(value))
				_, err = k.Swap(ctx, "total", version, []byte(strconv.Itoa(total+1)), 0)
				switch {
				case err == nil:
					n++
				case !errors.Is(err, cache.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	counting.Wait()
	value, err := bulk.Get(ctx, "total")
	if n, _ := strconv.Atoi(string(value)); err != nil || n != counters*each {
		t.Errorf("counted to %q, %v; want %d", value, err, counters*each)
	}
	eventually(t, "calls beside it have gone by", func() bool { return calls.Load() > 10 })
	stop()
	beside.Wait()
}

// The host is killed: without one, operations fail as what they are; with
// another one the cache is empty, and versions of the first are of nothing there.
func TestCacheHostIsKilled(t *testing.T) {
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, jobber("w", "jobs", 1)) // which sees at once that a node of its machine has died
	host := start(t, "cache", append([]string{"BROKER=" + c.url}, quick...)...)
	eventually(t, "the host is registered", func() bool { return c.nodes(t) == 2 })
	k, ctx := cache.New(c.dial(t), "jobs"), t.Context()
	if err := k.Set(ctx, "key", []byte("value"), 0); err != nil {
		t.Fatal(err)
	}
	_, version, err := k.Load(ctx, "key")
	if err != nil {
		t.Fatal(err)
	}
	before, err := k.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	host.kill()
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if _, err := k.Get(short, "key"); err == nil || errors.Is(err, cache.ErrMissing) {
		t.Errorf("without a host: %v, and nobody has looked", err)
	}
	start(t, "cache", append([]string{"BROKER=" + c.url}, quick...)...)
	eventually(t, "there is another host", func() bool { _, err := k.Get(ctx, "key"); return errors.Is(err, cache.ErrMissing) })
	if _, err := k.Swap(ctx, "key", version, []byte("x"), 0); !errors.Is(err, cache.ErrMissing) {
		t.Errorf("a swap of what is gone: %v", err)
	}
	if now, err := k.Stats(ctx); err != nil || now.Host == before.Host || now.Entries != 0 {
		t.Errorf("%+v, %v; the first was %+v", now, err, before)
	}
}

// BenchmarkCache is one client with 16 goroutines, all in one process.
func BenchmarkCache(b *testing.B) {
	c := newCell(b, broker.Options{})
	c.serve(b, worker.Options{}, cached(b, 0))
	k := cache.New(c.dial(b), "jobs")
	if err := k.Set(b.Context(), "key", make([]byte, 100), 0); err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		for i := 0; p.Next(); i++ {
			var err error
			if i%4 == 0 {
				err = k.Set(b.Context(), "key", make([]byte, 100), 0)
			} else {
				_, err = k.Get(b.Context(), "key")
			}
			if err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}
