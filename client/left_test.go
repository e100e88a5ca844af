package client

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/session"
)

// given notes the order in which parcels are given.
type given struct {
	parcel parcel
	name   int
	order  *[]int
}

func (g *given) give(*Client, *core.Effects) { *g.order = append(*g.order, g.name) }

func TestLeftIsTakenInOrder(t *testing.T) {
	var order []int
	var latest *parcel
	for i := range 5 {
		g := &given{name: i, order: &order}
		g.parcel = parcel{give: g, behind: latest}
		latest = &g.parcel
	}
	c := &Client{core: core.New(core.Config{}, rand.Reader)}
	c.take(latest, new(core.Effects))
	c.take(nil, new(core.Effects))
	if !slices.Equal(order, []int{0, 1, 2, 3, 4}) {
		t.Errorf("taken in the order %v", order)
	}
}

// An open that is given up while somebody has it in his hands for the core never
// gets there; one that the core has refused has ended.
func TestOpenGivenUpBeforeTheCoreHasIt(t *testing.T) {
	early := newOpening(&openConfig{})
	if !early.drop() {
		t.Error("the core has not got it, and it is too late to give it up")
	}
	early.give(nil, nil) // nobody's core is asked
	if len(early.done) > 0 {
		t.Error("what was given up has ended")
	}
	late := newOpening(&openConfig{})
	late.give(&Client{closed: true}, new(core.Effects))
	if late.drop() {
		t.Error("what the core has refused is given up")
	}
	if <-late.done; !errors.Is(late.err, session.ErrClientDone) {
		t.Errorf("a closed client's open ends with %v", late.err)
	}
}

// A call that travels with such an open ends with it.
func TestCallOfAnOpenThatIsRefused(t *testing.T) {
	w := newReply()
	o := newOpening(&openConfig{wish: core.Wish{Once: true, First: &core.First{Tag: w}}})
	o.give(&Client{closed: true}, new(core.Effects))
	if <-w.done; !errors.Is(w.err, session.ErrClientDone) || len(o.done) > 0 {
		t.Errorf("it ends with %v, its open with %d", w.err, len(o.done))
	}
}

// A call that is given up while somebody has it in his hands for the core is never
// sent, and its caller knows that.
func TestCallGivenUpBeforeTheCoreHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, of := clientWithSession(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		w := replies.New().(*replyTo) // whose channel is of this bubble: it is not put there
		w.again.ask = core.Ask{Method: "m", Tag: w}
		w.again.parcel.of = of
		ended := make(chan error)
		go func() {
			err := c.session(of).wait(ctx, w, w)
			if err == nil {
				_, err = w.answered(ctx)
			}
			ended <- err
		}()
		synctest.Wait() // he has given it up, and listens for what became of it
		fx := new(core.Effects)
		c.mu.Lock()
		c.take(&w.again.parcel, fx)
		c.mu.Unlock()
		if err := <-ended; !errors.Is(err, session.NotRun) || !errors.Is(err, session.ErrCancelled) || !errors.Is(err, context.Canceled) {
			t.Errorf("its caller is told %v", err)
		}
		if len(fx.Outs) > 0 {
			t.Error("it is sent")
		}
	})
}

// A call that travels with an open that is given up so is never sent either.
func TestCallOfAnOpenGivenUpBeforeTheCoreHasIt(t *testing.T) {
	c, _ := clientWithSession(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := newReply()
	w.on.client = c
	first, err := w.first(ctx, request{method: "m"})
	if err != nil {
		t.Fatal(err)
	}
	c.giveBack(newOpening(&openConfig{wish: core.Wish{Pool: "p", First: first}}))
	if err := w.givenUp(ctx); !errors.Is(err, session.NotRun) || !errors.Is(err, session.ErrCancelled) || !errors.Is(err, context.Canceled) {
		t.Errorf("its caller is told %v", err)
	}
}
