package client

import (
	"crypto/rand"
	"errors"
	"slices"
	"testing"

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
