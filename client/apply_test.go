package client

import (
	"context"
	"testing"

	"github.com/limpet-rpc/limpet/client/core"
	"github.com/limpet-rpc/limpet/internal/wire"
	"github.com/limpet-rpc/limpet/session"
)

// seenAtEnd notes at the end of a call how much of its progress had come.
type seenAtEnd struct {
	p    *Pending
	seen int
}

func (w *seenAtEnd) settle(*core.Result) { w.seen = len(w.p.steps) }

// Progress that comes in one frame with its call's end is there before the end
// is: a reader that wakes in between must not take it for all there was.
func TestProgressComesBeforeTheEnd(t *testing.T) {
	p := &Pending{reply: newReply(), news: make(chan struct{}, 1)}
	end := &seenAtEnd{p: p, seen: -1}
	new(Client).apply(&core.Effects{
		Results: []core.Result{{Tag: end}},
		Steps:   []core.Step{{Tag: p, Body: []byte{1}}, {Tag: p, Body: []byte{2}}},
	})
	if end.seen != 2 {
		t.Errorf("at the end %d values of progress had come, not 2", end.seen)
	}
}

// Progress may be on its way still when its client is closed, and its waiter another
// call's by then: nothing of a waiter that is used again is looked at for it.
func TestProgressThatComesTooLate(t *testing.T) {
	w, released := replies.Get().(*replyTo), make(chan struct{})
	go func() {
		defer close(released)
		w.release()
	}()
	new(Client).apply(&core.Effects{Steps: []core.Step{{Tag: w, Body: []byte{1}}}})
	<-released
	if _, takes := any(w).(stepper); takes {
		t.Error("it takes progress")
	}
}

// Who reads what a call came to takes its beginning too where the end has
// overtaken that: nothing is left for the next call that is waited for so.
func TestEndThatOvertakesTheBeginning(t *testing.T) {
	w, flow := newReply(), new(core.Flow)
	c := new(Client)
	c.apply(&core.Effects{Results: []core.Result{{Tag: w, Flow: flow, Err: errDone}}})
	began := make(chan struct{})
	go func() {
		defer close(began)
		c.apply(&core.Effects{Begun: []core.Begun{{Tag: w, Flow: flow}}})
	}()
	if !w.heard(<-w.done) || w.seen != flow {
		t.Errorf("it ends with %p, not with the flow that had begun", w.seen)
	}
	<-began
	if len(w.done) != 0 {
		t.Error("something is left for the next one")
	}
}

// A broadcast whose end comes before its last answers, because somebody has
// stopped it, has not ended before it has them.
func TestBroadcastEndsWithItsLastAnswer(t *testing.T) {
	g := &gathering{news: make(chan struct{}, 1), ended: make(chan struct{})}
	answer := core.Answer{Tag: g, Member: wire.Member{Fate: session.FateAnswered}}
	c := new(Client)
	c.apply(&core.Effects{Results: []core.Result{{Tag: g, Answers: 3}}, Answers: []core.Answer{answer}})
	for left := 2; left > 0; left-- {
		select {
		case <-g.ended:
			t.Fatalf("it has ended, and %d answers are on the way", left)
		default:
		}
		c.apply(&core.Effects{Answers: []core.Answer{answer}})
	}
	<-g.ended
	if sum, err := g.result(); sum.Answered != 3 || err != nil {
		t.Errorf("%+v, %v", sum, err)
	}
}

// A call that was begun with Go is off its context once it has ended, whichever
// comes first.
func TestEndTakesCallOffItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for what, order := range map[string]func(p *Pending, end func()){
		"after its begin":  func(p *Pending, end func()) { p.hook(); end() },
		"before its begin": func(p *Pending, end func()) { end(); p.hook() },
	} {
		p := newPending(ctx, nil, "m")
		order(p, func() { p.settle(&core.Result{}) })
		if p.unhook() {
			t.Errorf("one that ends %s still waits for its context", what)
		}
	}
}
