package tests

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/limpet-rpc/limpet/broker"
	"github.com/limpet-rpc/limpet/client"
	"github.com/limpet-rpc/limpet/session"
	"github.com/limpet-rpc/limpet/worker"
)

// Calls to several pools are joined in typed variables; a part may go on by
// itself.
func TestGather(t *testing.T) {
	c, _, _ := pipeline(t, broker.Options{})
	cl := c.dial(t)
	var left, right job
	var raw []byte
	err := client.Gather(t.Context(), cl,
		client.NewPart("left", "a", "on", job{N: 2, To: "b"}).Into(&left),
		client.NewPart("right", "b", "end", job{N: 7}).Into(&right),
		client.NewPart("raw", "b", "raw", []byte("hey")).Into(&raw),
		client.NewPart("dropped", "b", "end", j0),
	)
	if err != nil || left.Path != "a.on b.on a.on " || right.N != 7 || string(raw) != "hey!" {
		t.Errorf("%+v %+v %q, %v", left, right, raw, err)
	}
	if err := client.Gather(t.Context(), cl); err != nil {
		t.Errorf("nothing at all: %v", err)
	}
	for what, parts := range map[string][]*client.Part{
		`named "x"`: {client.NewPart("x", "a", "end", j0), client.NewPart("x", "b", "end", j0)},
		`named ""`:  {client.NewPart("", "a", "end", j0)},
	} {
		if err := client.Gather(t.Context(), cl, parts...); !errors.Is(err, client.ErrBadArgument) || !contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := client.Gather(t.Context(), cl, client.NewPart("x", "a", "end", j0).Or(func() {})); !errors.Is(err, client.ErrBadArgument) {
		t.Errorf("a fallback that is no value: %v", err)
	}
}

// A part that fails fails the whole and ends the others, unless it has a
// fallback.
func TestGatherWhereOneFails(t *testing.T) {
	c, a, _ := pipeline(t, broker.Options{})
	cl := c.dial(t)
	slow := client.NewPart("slow", "a", "block", j0)
	err := client.Gather(t.Context(), cl, slow, client.NewPart("bad", "b", "fail", j0))
	if !errors.Is(err, client.ErrMethod) || !contains(err.Error(), `part "bad"`) {
		t.Errorf("%v", err)
	}
	if slow.Err() == nil {
		t.Error("the other part was done")
	}
	eventually(t, "all slots are free", func() bool { return c.pool(t, "a").Free == 4 })
	for len(a.began) > 0 {
		<-a.began
		_ = await(t, a.ended, "it has ended")
	}
	var got, stood job
	bad := client.NewPart("bad", "b", "fail", j0).Or(job{N: -1}).Into(&stood)
	if err := client.Gather(t.Context(), cl, bad, client.NewPart("good", "a", "end", job{N: 5}).Into(&got)); err != nil {
		t.Error(err)
	}
	if stood.N != -1 || got.N != 5 || !errors.Is(bad.Err(), client.ErrMethod) {
		t.Errorf("%+v %+v %v", stood, got, bad.Err())
	}
}

// At its deadline a part ends, its worker is told to stop, and what comes late
// is dropped: the next request gets its own answers.
func TestGatherPastItsDeadline(t *testing.T) {
	c := newCell(t, broker.Options{})
	began, told := make(chan bool, 1), make(chan bool, 1)
	let := make(chan struct{}, 2)
	p := worker.NewPool(worker.Config[struct{}]{Pool: "late", Slots: 2})
	worker.Handle(p, "stubborn", func(ctx context.Context, _ struct{}, n int) (int, error) {
		if n == 1 {
			began <- true
			<-ctx.Done()
			told <- true
			<-let // it answers all the same, after everybody has gone
		}
		return n, nil
	})
	c.serve(t, worker.Options{}, p)
	cl := c.dial(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second) // in which the second part is done
	defer cancel()
	var one, two int
	part := client.NewPart("one", "late", "stubborn", 1).Or(-1).Into(&one)
	if err := client.Gather(ctx, cl, part, client.NewPart("two", "late", "stubborn", 2).Into(&two)); err != nil {
		t.Error(err)
	}
	if one != -1 || two != 2 || !errors.Is(part.Err(), client.ErrDeadline) {
		t.Errorf("%d %d, %v", one, two, part.Err())
	}
	await(t, began, "it began")
	await(t, told, "it was told to stop")
	let <- struct{}{}
	if err := client.Gather(t.Context(), cl, client.NewPart("one", "late", "stubborn", 3).Into(&one)); err != nil || one != 3 {
		t.Errorf("the next request: %d, %v", one, err)
	}
	whole := 5
	short, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	err := client.Gather(short, cl, client.NewPart("one", "late", "stubborn", 4).Into(&whole))
	if !errors.Is(err, client.ErrDeadline) || !errors.Is(err, session.NotRun) || whole != 5 {
		t.Errorf("%d, %v", whole, err)
	}
	part = client.NewPart("one", "late", "stubborn", 1).Within(50 * time.Millisecond)
	if err := client.Gather(t.Context(), cl, part); !errors.Is(err, client.ErrDeadline) {
		t.Errorf("a part's own deadline: %v", err)
	}
	let <- struct{}{}
	eventually(t, "nothing is left", func() bool { return c.pool(t, "late").Free == 2 && c.pool(t, "late").Waiting == 0 })
}

// Parts may be gathered again: what they ended with before is forgotten.
func TestGatherAgain(t *testing.T) {
	c, _, _ := pipeline(t, broker.Options{})
	cl := c.dial(t)
	p := client.NewPart("a", "b", "fail", j0)
	err := client.Gather(t.Context(), cl, p)
	again := client.Gather(t.Context(), cl, p)
	if !errors.Is(err, client.ErrMethod) || again == nil || err.Error() != again.Error() {
		t.Errorf("first %v\nthen  %v", err, again)
	}
}
