package client

import (
	"context"
	"crypto/rand"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/limpet-rpc/limpet/client/core"
)

// watcher is a client without a loop, with a session.
func watcher() (*Client, *Session) {
	c := &Client{core: core.New(core.Config{}, rand.Reader), watches: map[context.Context]*watch{}, round: 1}
	return c, &Session{client: c}
}

// watchedAfter makes calls under ctx until it is watched.
func watchedAfter(s *Session, ctx context.Context) (calls int, is *watched) {
	for calls = 1; calls <= 2*watchFrom; calls++ {
		if is = s.watched(ctx); is != nil {
			break
		}
	}
	return calls, is
}

// A context that calls share is watched once, whoever calls, until it ends.
func TestSharedContextIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := watcher()
		other := &Session{client: c}
		ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(time.Hour))
		defer cancel()
		for range watchFrom - 1 {
			s.watched(ctx)
		}
		s.watched(t.Context())
		calls, is := watchedAfter(s, ctx)
		if calls != watchFrom || is == nil || is.deadline.IsZero() {
			t.Errorf("watched from call %d on: %+v", calls, is)
		}
		if _, also := watchedAfter(other, ctx); also != is || len(c.watches) != 1 {
			t.Errorf("another session's calls have a watch of their own; there are %d", len(c.watches))
		}
		cancel()
		synctest.Wait()
		if is.watch.live.Load() != nil || !is.watch.over || len(c.watches) != 0 {
			t.Error("its context has ended, and it watches")
		}
	})
}

// A watch that nobody uses ends, and all do with their client; nothing of them is
// left with the context.
func TestUnusedWatchEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, s := watcher()
	if _, is := watchedAfter(s, ctx); is == nil {
		t.Fatal("not watched")
	}
	now := time.Now()
	if c.restWatches(now, false) != nil {
		t.Error("one that was used ends")
	}
	if c.restWatches(now.Add(watchRest-1), false) != nil {
		t.Error("one ends too soon")
	}
	if stops := c.restWatches(now.Add(watchRest), false); len(stops) != 1 || !stops[0]() || len(c.watches) != 0 {
		t.Errorf("%d watches end that nobody has used", len(stops))
	}
	if _, is := watchedAfter(s, ctx); is == nil {
		t.Error("it is not watched again")
	}
	if stops := c.restWatches(now, true); len(stops) != 1 || len(c.watches) != 0 {
		t.Errorf("a client that ends ends %d watches and has %d", len(stops), len(c.watches))
	}
	for ctx := range func(yield func(context.Context) bool) { _ = yield(context.Background()) && yield(byValue{ctx, nil}) } {
		if _, is := watchedAfter(s, ctx); is != nil {
			t.Errorf("%T is watched", ctx)
		}
	}
}

// byValue is a context that cannot be compared.
type byValue struct {
	context.Context
	_ []int
}

// Watches are bounded; whose context finds no place looks for himself.
func TestWatchesAreBounded(t *testing.T) {
	c, s := watcher()
	for range watchMost {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		if c.watchOf(ctx) == nil {
			t.Fatal("no watch")
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, is := watchedAfter(s, ctx); is != nil {
		t.Errorf("there are more than %d watches", watchMost)
	}
	stopAll(c.restWatches(time.Now(), true))
}

// A caller who is told that he is alone waits for his reply and his context.
func TestAloneLooksHimself(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, brief := range []bool{false, true} {
		w := replies.Get().(*replyTo)
		if w.again.brief = brief; !brief {
			w.again.watch = new(watch)
		}
		w.done <- &alone
		w.settle(&core.Result{Body: []byte{1}})
		if !w.awaited(ctx) || !w.over || len(w.body) != 1 || len(w.done) != 0 {
			t.Errorf("the reply is not heard: %+v", w)
		}
		w.release()
	}
	w := replies.Get().(*replyTo)
	w.again.watch = new(watch)
	w.done <- &alone
	cancel()
	if w.awaited(ctx) {
		t.Error("the end of the context is not heard")
	}
}

// A waiter that is used again has a context watched under which he waits again and
// again, and knows it when it is that of others.
func TestWaiterHasItsContextWatched(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, _ := watcher()
	var v, other vigil
	for call := 1; call <= watchFrom; call++ {
		if v.begin(ctx, c); v.told() != (call == watchFrom) {
			t.Fatalf("use %d: told %v", call, v.told())
		}
		if call == watchFrom/2 {
			other.begin(t.Context(), c)
		}
	}
	if v.rest(); v.told() {
		t.Error("he is told when he does not wait")
	}
	if v.begin(ctx, c); !v.told() {
		t.Error("it is not watched any more")
	}
	if v.begin(t.Context(), c); v.watched(t.Context(), c) != nil {
		t.Error("another context is watched at once")
	}
	stopAll(c.restWatches(time.Now(), true))
	if v.rest(); v.watched(ctx, c) != nil {
		t.Error("a watch that has ended watches")
	}
}

// Who opens or closes is told when his context ends, and takes what comes first.
func TestOpenIsToldOfItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := newOpening(&openConfig{})
	w.watch = new(watch)
	w.done <- &alone
	w.settle(&core.Result{})
	if !w.ended(ctx, w.done) || len(w.done) != 0 {
		t.Error("the end of the open is not heard")
	}
	w.done <- &alone
	cancel()
	if w.ended(ctx, w.done) {
		t.Error("the end of the context is not heard")
	}
}

// A waiter serves one client after the other: what watched its context for the one
// does not tell those who wait for the other.
func TestWaiterIsWatchedByItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		before, _ := watcher()
		c := &Client{core: core.New(core.Config{ID: uuid.New()}, rand.Reader), watches: map[context.Context]*watch{}, round: 1}
		w := unpooledOpening()
		for range watchFrom {
			w.begin(ctx, before)
		}
		w.rest()
		w.begin(ctx, c)
		c.mu.Lock()
		w.under(c, w.done)
		if refused := c.core.OpenIn(time.Now(), &w.core, &core.Wish{Pool: "p"}, w, new(core.Effects)); refused != nil {
			t.Error(refused)
		}
		c.mu.Unlock()
		cancel()
		synctest.Wait()
		if w.told() && len(w.done) == 0 {
			t.Fatal("he waits for somebody to tell him that his context has ended, and nobody does")
		}
	})
}
