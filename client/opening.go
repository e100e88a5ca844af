package client

import (
	"sync"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/session"
)

// opening waits for one open, or for one attach.
type opening struct {
	done   chan *core.Flow // holds two: alone; nil: the end
	fx     core.Effects    // of the step that sends the open
	parcel parcel
	pooled bool
	vigil

	// fixed while the core has it, or will
	wish  core.Wish
	place func(int)

	// guarded by the client's mu
	core    core.Opening
	asked   bool // the core has it, or has ended it
	given   bool // or has refused it
	dropped bool // it was given up before that: the core will not get it

	session *core.Session // set before done
	err     *session.Error
}

var openings = sync.Pool{New: func() any {
	w := unpooledOpening()
	w.pooled = true
	return w
}}

func unpooledOpening() *opening {
	w := &opening{done: make(chan *core.Flow, 2)}
	w.parcel.give = w
	return w
}

// newOpening returns a waiter for what cfg asks for. One that is told its place
// is not used again: that may come after its end.
func newOpening(cfg *openConfig) *opening {
	var w *opening
	if cfg.place == nil {
		w = openings.Get().(*opening)
	} else {
		w = unpooledOpening()
		w.place = cfg.place
	}
	w.wish = cfg.wish
	return w
}

// release gives up a waiter whose end has been taken. One that was given up before
// its end is never released: it may still be in somebody's hands.
func (w *opening) release() {
	if w.pooled {
		w.wish, w.core, w.asked, w.given, w.session, w.err = core.Wish{}, core.Opening{}, false, false, nil, nil
		w.rest()
		openings.Put(w)
	}
}

// give implements giver. The end of an open that is for one call is the call's.
func (w *opening) give(c *Client, fx *core.Effects) {
	if w.dropped {
		return
	}
	w.given = true
	refused := errDone
	if !c.closed {
		if v, done := vigilOf(w.waiter()); v != nil {
			v.under(c, done)
		}
		refused = c.core.OpenIn(c.loop.Time(), &w.core, &w.wish, w.tag(), fx)
	}
	if w.asked = refused == nil; w.asked {
		return
	}
	own := *refused
	w.waiter().(waiter).settle(&core.Result{Err: &own})
}

// waiter is who waits for the open's end: that of one that is for one call is the
// call's.
func (w *opening) waiter() any {
	if w.wish.Once {
		return w.wish.First.Tag
	}
	return w
}

// tag is who gets the open's end.
func (w *opening) tag() any {
	if w.wish.Once {
		return nil
	}
	return w
}

// drop gives up an open that the core has not got, while mu is held, and ends the
// call that was to come along. It is false where it is too late for that.
func (w *opening) drop() bool {
	if w.dropped = !w.given; w.dropped && w.wish.First != nil {
		w.wish.First.Tag.(waiter).settle(&core.Result{Err: neverSent(session.ErrCancelled)})
	}
	return w.dropped
}

func (w *opening) settle(r *core.Result) {
	w.session, w.err = r.Session, r.Err
	w.done <- nil
}

func (w *opening) moved(place int) {
	if w.place != nil {
		w.place(place)
	}
}
