package tests

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/worker"
)

// shaped is a pool whose method counts the node that it runs on.
func shaped(policy string, ran *atomic.Int64, value func() string) *worker.Pool[int] {
	p := worker.NewPool(worker.Config[int]{Pool: "shaped", Slots: 64, Policy: policy, Value: value})
	worker.Handle(p, "run", func(context.Context, int, int) (int64, error) { return ran.Add(1), nil })
	return p
}

// jobs runs so many one-call sessions, a few at a time.
func jobs(t *testing.T, cl *client.Client, n, atOnce int, opts ...client.OpenOption) {
	t.Helper()
	var all sync.WaitGroup
	for i := range atOnce {
		all.Go(func() {
			for range (n + atOnce - 1 - i) / atOnce {
				if _, err := client.Do[int64](t.Context(), cl, "shaped", "run", 0, opts...); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// Whatever the broker's own policy is, a pool has its nodes'.
func TestRoundRobinOfOnePool(t *testing.T) {
	c := newCell(t, broker.Options{})
	var a, b atomic.Int64
	c.serve(t, worker.Options{}, shaped("round-robin", &a, nil))
	c.serve(t, worker.Options{}, shaped("round-robin", &b, nil))
	if p := c.pool(t, "shaped"); p.Policy != "round-robin" {
		t.Errorf("the policy is %s", p.Policy)
	}
	cl := c.dial(t)
	jobs(t, cl, 10, 1)
	if a.Load() != 5 || b.Load() != 5 {
		t.Errorf("%d and %d of 10", a.Load(), b.Load())
	}
	jobs(t, cl, 10_000, 8)
	if a.Load() != 5005 || b.Load() != 5005 {
		t.Errorf("%d and %d of 10,010", a.Load(), b.Load())
	}
}

// Jobs that want A go to the node that says A, all of them; when another says
// it, they go there.
func TestShapedTraffic(t *testing.T) {
	c := newCell(t, broker.Options{})
	var a, b atomic.Int64
	var saysA, saysB atomic.Value
	saysA.Store("A")
	saysB.Store("B")
	fast := worker.Options{Beat: 100 * time.Millisecond, Misses: 100}
	c.serve(t, fast, shaped("equal", &a, func() string { return saysA.Load().(string) }))
	c.serve(t, fast, shaped("equal", &b, func() string { return saysB.Load().(string) }))
	cl := c.dial(t)
	jobs(t, cl, 10_000, 8, client.WithWant("A"))
	if a.Load() != 10_000 || b.Load() != 0 {
		t.Errorf("A ran %d, B %d", a.Load(), b.Load())
	}
	_, err := client.Do[int64](t.Context(), cl, "shaped", "run", 0, client.WithWant("C"), client.WithWait(50*time.Millisecond))
	if !errors.Is(err, client.ErrNoWorker) {
		t.Errorf("what nobody says: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	waits := openLater(ctx, cl, "shaped", client.WithWant("C"))
	await(t, waits.queued, "it waits")
	saysB.Store(strings.Repeat("x", 256)) // is not said
	saysA.Store("C")
	if o := await(t, waits.done, "a node says what is wanted"); o.err != nil {
		t.Error(o.err)
	}
	jobs(t, cl, 1, 1, client.WithWant("B"))
	if b.Load() != 1 {
		t.Error("the value before did not stay")
	}
}

// What cannot be is said at once: to the program that names a policy that there
// is not, and to the client that wants a value where nobody looks at it.
func TestPolicyMistakes(t *testing.T) {
	var ran atomic.Int64
	err := worker.Serve(t.Context(), worker.Options{Logger: quiet()}, shaped("fastest", &ran, nil))
	if err == nil || !strings.Contains(err.Error(), `pool "shaped": placement policy "fastest": want one of least-loaded, `) {
		t.Errorf("an unknown policy: %v", err)
	}
	c := newCell(t, broker.Options{})
	c.serve(t, worker.Options{}, shaped("", &ran, nil))
	cl := c.dial(t)
	_, err = client.Do[int64](t.Context(), cl, "shaped", "run", 0, client.WithWant("A"))
	if !errors.Is(err, client.ErrLabelsUnknown) || !strings.Contains(err.Error(), "its policy is not equal") {
		t.Errorf("a want in a pool without values: %v", err)
	}
	_, err = client.Do[int64](t.Context(), cl, "shaped", "run", 0, client.WithWant(strings.Repeat("x", 256)))
	if err == nil || !strings.Contains(err.Error(), "want of 256 bytes, at most 255") {
		t.Errorf("a want of 256 bytes: %v", err)
	}
}
